"""``python -m lakemem``."""

import sys

from lakemem.cli import main

sys.exit(main())
