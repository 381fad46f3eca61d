"""aitia: why did my training run fail?"""

from __future__ import annotations

import pkgutil

__version__ = "0.1.0"
__path__ = pkgutil.extend_path(__path__, __name__)
