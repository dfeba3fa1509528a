"""``python -m hrinet`` is the ``hrinet`` command."""

from hrinet.commands.app import main

main()
