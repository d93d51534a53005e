"""python -m maskrt.tools.measured; see `page.py`."""

import sys

from .page import main

sys.exit(main())
