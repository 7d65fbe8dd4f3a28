"""The MCP server: a front door beside `cli`, for programs that speak the Model Context Protocol.

What lives here is protocol: the forms of arguments, the names of tools and resources, transports,
and who may come in over HTTP. A tool calls one function of `app`, the same that its command calls;
nothing is decided here, and the official `mcp` package is imported nowhere else but by the adapter
that is its other end. Run as `python -m fleet.mcp`; `fleet mcp` does.
"""
