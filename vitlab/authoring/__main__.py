"""`python -m vitlab.authoring` brings every notebook into its committed form."""

import sys

from vitlab.authoring.notebooks import main

sys.exit(main())
