"""The kernel: pure functions over plain values; no clock, no hands, no dice, no await.

    decide(state, command)      -> events         raises only Rejected; changes nothing then
    evolve(state, event)        -> state          total on journaled events
    outstanding(state)          -> effects        level-triggered: what ought to be running now
    next_wakeup(state, now_ms)  -> ms | None      strictly later than now
    grant(ledger, wants)        -> grants         which wanted steps the fleet's limits let start

It knows steps, needs, attempts and questions. It has no word for git, tmux, an agent, a phase or a
campaign: those are documents and kinds, lowered into its one graph.
"""
