"""The commands of raymu: one module each, with the click command as `command`.

`raymu.cli.group` lists them and imports the one that is used.
"""
