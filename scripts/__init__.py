"""What maintainers run: releases, and the checks that belong to them."""
