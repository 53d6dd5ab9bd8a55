"""Output that may lose its reader, as in `lus report RUN | head`."""

import os
import select
import sys

import click


def echo_result(text: str) -> None:
    """Print a result; without a reader the command goes on and writes its files."""
    try:
        click.echo(text)
    except BrokenPipeError:
        if not drop_unread_output():
            raise


def drop_unread_output() -> bool:
    """Whether the reader of the output has ended; what is printed from then on goes nowhere."""
    output = select.poll()
    output.register(sys.stdout, 0)  # errors are reported in any case
    if ended := any(event & select.POLLERR for _, event in output.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
    return ended
