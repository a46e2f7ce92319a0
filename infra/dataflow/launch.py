"""What the launcher of the Flex Template runs: `pentimento encode` with its parameters."""

import sys

from pipelines.flex_template import main

sys.exit(main(sys.argv[1:]))
