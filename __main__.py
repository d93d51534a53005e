"""`python -m maskrt VERB ...`, as torchrun starts it."""

import sys

from .cli.main import main

sys.exit(main())
