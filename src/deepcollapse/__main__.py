"""`python -m deepcollapse` is the command `deepcollapse`."""

from deepcollapse.cli import main

raise SystemExit(main())
