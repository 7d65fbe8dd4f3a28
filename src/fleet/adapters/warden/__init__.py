"""The warden: what stands beside one sandbox for as long as it lives, its way out and its limits.

Law: the standard library only and nothing of fleet but this package, for one of these runs for
each attempt that needs it and its memory is counted: no `pathlib` and no `dataclasses` either.
`watch` is the process outside: it starts the sandbox, waits for it and ends with its code; `outlet`
is the way out that it holds open, `cage` the control group that it puts the sandbox into.
`entrance` is what runs inside before the agent does, and becomes the agent. The sandbox dies with
its warden, so nothing is ever let out unwatched.
"""
