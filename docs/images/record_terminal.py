"""Records a first run on a terminal as terminal.svg: `python docs/images/record_terminal.py`.

The commands are run in an empty folder, on the bundled data. The picture shows their output, one command after another.
"""

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 92
COMMANDS = (
    "raymu train letter.yaml runs/letter",
    "raymu revoke runs/letter --id 17 --id 4021",
    "raymu settle runs/letter",
    "raymu verify runs/letter",
)
CHARACTER, LINE, MARGIN, BAR = 8.0, 18, 18, 30
"""Width of a character, height of a line, margin and title bar, in pixels."""
PAUSE_S = 1.6
"""Seconds from one command to the next."""
GROUND, INK, PROMPT = "#14191f", "#d8dee6", "#7ee0a3"
COLOURS = {1: "#ff8f80", 2: "#7ee0a3", 3: "#f2c66d", 6: "#7fd4e6"}
"""Of the colours of ANSI, by their numbers."""


def output_of(command: str, folder: Path) -> str:
    """Run a command with a terminal as its standard output, without its progress, and return what it prints."""
    reader, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "raymu.cli", *shlex.split(command)[1:]]
    process = subprocess.Popen(
        call, cwd=folder, stdout=terminal, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(terminal)
    parts = []
    try:
        while part := os.read(reader, 65536):
            parts.append(part)
    except OSError:  # Linux says so when the last writer has closed the terminal
        pass
    finally:
        os.close(reader)
    if process.wait() not in (0, 3):
        raise SystemExit(f"{command} ended with {process.returncode}")
    return b"".join(parts).decode().replace("\r\n", "\n").rstrip()


def styled_lines(output: str) -> Iterator[list[Segment]]:
    """Yield the lines of an output as segments of one style each, wrapped at the terminal's width."""
    console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True, file=io.StringIO())
    yield from console.render_lines(Text.from_ansi(output), pad=False)


def drawn_line(segments: list[Segment], y: float) -> str:
    """Draw a line of text. Words between gaps are given their place and width, so that columns stay aligned in any font."""
    column, parts = 0, []
    for segment in segments:
        style = segment.style
        number = style.color.number if style and style.color else None
        look = f' fill="{COLOURS[number]}"' if number in COLOURS else ""
        look += ' font-weight="700"' if style and style.bold else ""
        look += ' opacity="0.7"' if style and style.dim else ""
        for words in re.finditer(r"\S+(?: \S+)*", segment.text):
            x, width = MARGIN + (column + words.start()) * CHARACTER, len(words[0]) * CHARACTER
            parts.append(f'<text x="{x:g}" y="{y:g}" textLength="{width:g}"{look}>{escape(words[0])}</text>')
        column += len(segment.text.rstrip("\n"))
    return "".join(parts)


def picture(outputs: list[tuple[str, str]]) -> str:
    """Return the recording as an SVG picture: the commands and their outputs, which appear one after another."""
    blocks, row = [], 0
    for number, (command, output) in enumerate(outputs):
        top = BAR + MARGIN + row * LINE
        prompt = f'<tspan fill="{PROMPT}">$</tspan> {escape(command)}'
        lines = [f'<text x="{MARGIN}" y="{top + LINE:g}" font-weight="700">{prompt}</text>']
        row += 1
        for segments in styled_lines(output):
            lines.append(drawn_line(segments, BAR + MARGIN + (row + 1) * LINE))
            row += 1
        row += 1
        blocks.append(f'<g class="step" style="animation-delay:{number * PAUSE_S:g}s">{"".join(lines)}</g>')
    width, height = 2 * MARGIN + COLUMNS * CHARACTER, BAR + 2 * MARGIN + row * LINE
    title = "Four commands on a terminal: " + ", ".join(command for command, _ in outputs)
    dots = "".join(f'<circle cx="{MARGIN + 18 * dot}" cy="16" r="5" fill="#4a5563"/>' for dot in range(3))
    # People who asked their system for less motion see the last picture at once.
    hidden = ".step{opacity:0;animation:show .2s forwards}"
    motion = f"@media (prefers-reduced-motion:no-preference){{{hidden}}}@keyframes show{{to{{opacity:1}}}}"
    font = 'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" {font} '
        f'fill="{INK}">'
        f"<title>{escape(title)}</title><style>{motion}</style>"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{GROUND}"/>{dots}' + "\n".join(blocks) + "</svg>\n"
    )


def main() -> None:
    """Run the commands and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration = (ROOT / "examples" / "letter.yaml").read_text(encoding="utf-8")
        (folder / "letter.yaml").write_text(configuration.replace("../raymu", str(ROOT / "raymu")), encoding="utf-8")
        outputs = [(command, output_of(command, folder)) for command in COMMANDS]
    Path(__file__).with_name("terminal.svg").write_text(picture(outputs), encoding="utf-8")


if __name__ == "__main__":
    main()
