"""What the options of the `lus` command are, beyond what click knows."""

from typing import Any

import click


class PlaceOption(click.ParamType):
    """A folder of this machine, or one on object storage by its URI."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # a Path, or the str of a URI
        """A `Path`, or the text of a URI that can be opened.

        Raises:
            InputError: Arrow knows no such storage, or the URI holds a password.
        """
        from lus_ray.storage.paths import parse  # Arrow takes a while: only where a place is given

        return parse(value) if isinstance(value, str) else value


PLACE = PlaceOption()
