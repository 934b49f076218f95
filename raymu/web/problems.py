"""Problems of calls: what a failure is answered with, wherever it happens."""

from fastapi.exceptions import RequestValidationError

from raymu.errors import RaymuError
from raymu.text import one_line
from raymu.web.refusals import Refused
from raymu.web.submission import error_status


def refusal_of(error: Exception) -> Refused | None:
    """Return what a failed call is answered with, without anything that its body holds; None if the program is wrong."""
    match error:
        case Refused():
            return error
        case RequestValidationError():
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:4]) or str(first["loc"][0])
            return Refused(422, one_line(f"{place}: {first['msg']}"))
        case RaymuError():
            return Refused(error_status(error), one_line(error))
        case _:
            return None
