"""The Flink jobs: wiring around the pure steps of `core`.

Operators are opened at once, each in a thread of the JVM's, and import what they need. In CPython before 3.11.5 such
threads now and then see each other's modules half made, and what tries its luck with `import ssl`, as urllib3 does,
goes on without it for good. So it is there before any of them: this package is the first that all of them import.
"""

import ssl as ssl
