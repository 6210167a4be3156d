"""The descriptor pool of Penstock's own stubs.

Triton's client registers its copy of package ``inference`` in protobuf's default pool. Two
copies cannot share one pool, so ours live here and both can be imported, in either order.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
