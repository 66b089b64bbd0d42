"""`python -m pairloom` is the command."""


def main() -> None:
    """Run the command."""
    from pairloom import cli  # late: worker processes import this file again, and need no command line

    cli.main()


if __name__ == "__main__":
    main()
