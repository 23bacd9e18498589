"""One suite of API behaviours for two servers: the sandbox in this process, and a real kube-apiserver (marker `cluster`).

The real server is the oracle. Where it disagrees with an expectation, the expectation is wrong, and the sandbox follows.
"""
