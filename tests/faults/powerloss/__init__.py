"""What a loss of power could leave of a registry, built from a recording and checked state by state.

    workloads --strace--> calls --> steps --> a disk: what is there for certain, what may be --> states --> checks

1. A workload is real: both stores, their threads, SQLite. It tells when it begins an operation and when its caller has
   the answer.
2. Certain is only what was synced: the bytes of a file by syncing the file, its name by syncing the folder. Of all
   else any part may be there, in any order, a write as far as any sector.
3. Every state that is built is opened by the real stores, and must keep what was promised (``promises``, ``checking``).
"""
