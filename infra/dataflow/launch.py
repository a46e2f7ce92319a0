"""What the launcher of the Flex Template runs: `underpaint encode` with its parameters."""

import sys

from underpaint.pipelines.runners.flex_template import main

sys.exit(main(sys.argv[1:]))
