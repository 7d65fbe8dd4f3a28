/* OpenCode's plugin: tells `fleet hook` what happens in a session, in the vocabulary that it reads,
   and does what it answers. Nothing here decides, and nothing here may stop a session.

   Options: {hook: argv, interactive: bool, asks: bool, guards: bool, words: argv}. In a terminal a turn that ended is judged at once and
   sent back by a prompt; headless, where the program ends with its turn, by going on with the same
   session before it ends. Headless, too, it refuses whatever it asks about at once, so a permission
   is asked for before the tool runs, and given the moment that the program asks. Where it guards,
   every tool is judged before it runs, and none that could not be. */

import { spawn } from "node:child_process"
import { mkdirSync, renameSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

const ASKED_FOR = {
  bash: "bash", edit: "edit", write: "edit", multiedit: "edit", patch: "edit", apply_patch: "edit",
  webfetch: "webfetch", websearch: "websearch",
}

for (const name of ["npm_config_fetch_retries", "npm_config_fetch_timeout"])
  delete process.env[name] // they were for this program's own start, not for what its tools run

export const fleet = async ({ client }, options) => {
  const inner = new Set() // sessions of agents inside the agent
  const granted = new Map() // a session's tool that was allowed, by call
  const calls = new Map() // what a tool is used on, by call
  const open = new Map() // the hooks that ask, by request
  const spent = new Map() // tokens and cost, by message
  let root, turn = "", said = ""

  const tell = (event, session = root, more = {}) => {
    const child = spawn(options.hook[0], options.hook.slice(1), { stdio: ["pipe", "pipe", "ignore"] })
    const answer = new Promise((resolve) => {
      let text = ""
      child.stdout.on("data", (part) => (text += part))
      child.on("error", () => resolve({ failed: true }))
      child.on("close", (code) => {
        try { resolve(text ? JSON.parse(text) : { failed: code !== 0 }) } catch { resolve({ failed: true }) }
      })
    })
    child.stdin.on("error", () => {})
    child.stdin.end(JSON.stringify({ hook_event_name: event, session_id: session, ...more }))
    return { child, answer }
  }

  const ask = async (session, name, input, request) => {
    const told = { tool_name: name, tool_input: input, agent_id: inner.has(session) ? session : "" }
    const asked = tell("PermissionRequest", root, told)
    if (request) open.set(request, asked.child)
    const { hookSpecificOutput } = await asked.answer
    return hookSpecificOutput?.decision
  }

  const guard = async (session, name, input) => {
    const told = { tool_name: name, tool_input: input, agent_id: inner.has(session) ? session : "" }
    const { failed, hookSpecificOutput } = await tell("PreToolUse", root, told).answer
    const { permissionDecision, permissionDecisionReason } = hookSpecificOutput ?? {}
    if (failed || permissionDecision === "deny")
      throw new Error(permissionDecisionReason || "It cannot be judged.")
    return permissionDecision
  }

  const reply = (session, request, response) =>
    client.postSessionIdPermissionsPermissionId({
      path: { id: session, permissionID: request }, body: { response },
    })

  const permit = async ({ sessionID, id, permission, patterns, metadata, tool }) => {
    if (granted.delete(tool?.callID)) return reply(sessionID, id, "once")
    if (!options.interactive) return
    const call = ASKED_FOR[permission] || permission === "external_directory" ? calls.get(tool?.callID) : undefined
    const input = metadata?.command ? metadata : { path: metadata?.filepath ?? patterns?.join(", ") }
    const decision = await ask(sessionID, call?.tool ?? permission, call?.args ?? input, id)
    if (open.delete(id) && decision)
      await reply(sessionID, id, decision.behavior === "allow" ? "once" : "reject")
  }

  const judged = async () => {
    const { decision, reason } = await tell("Stop", root, { last_assistant_message: said }).answer
    return decision === "block" ? reason : undefined
  }

  const note = ({ info }) => {
    if (info?.role !== "assistant" || !info.time?.completed || inner.has(info.sessionID)) return
    spent.set(info.id, info)
    const all = [...spent.values()]
    const sum = (of) => all.reduce((total, one) => total + (of(one) || 0), 0)
    const used = {
      input_tokens: sum((one) => one.tokens?.input), output_tokens: sum((one) => one.tokens?.output),
      cached_tokens: sum((one) => one.tokens?.cache?.read), usd: sum((one) => one.cost),
      turns: all.length,
    }
    const folder = join(dirname(process.env.FLEET_BRIEF), "session")
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, ".usage.json"), JSON.stringify(used))
    renameSync(join(folder, ".usage.json"), join(folder, "usage.json"))
  }

  const changed = (now, event, more) => {
    if (turn === now) return
    turn = now
    return tell(event, root, more).answer
  }

  const take = async ({ type, properties }) => {
    const session = properties.sessionID
    if (type === "session.created" && properties.info?.parentID) inner.add(properties.info.id)
    if (type === "permission.asked") return permit(properties)
    if (type === "permission.replied") {
      open.get(properties.requestID)?.kill()
      if (open.delete(properties.requestID))
        await tell(properties.reply === "reject" ? "UserPromptSubmit" : "PostToolUse").answer
      return
    }
    if (!session || inner.has(session)) return
    if (type === "session.status" && properties.status.type === "busy") {
      root = session
      if (options.interactive) await changed("working", "UserPromptSubmit")
    } else if (type === "message.updated") note(properties)
    else if (type === "session.error") {
      const aborted = properties.error?.name === "MessageAbortedError"
      await changed("failed", aborted ? "Interrupt" : "StopFailure")
    } else if (type === "session.idle" && options.interactive && turn === "working") {
      turn = "ended"
      const reason = await judged()
      if (reason)
        await client.session.promptAsync({
          path: { id: session }, body: { parts: [{ type: "text", text: reason }] },
        })
    }
  }

  const goOn = (reason) =>
    new Promise((resolve) => {
      const words = ["run", "--format", "json", ...options.words, "--session", root]
      const child = spawn(process.execPath, words, { stdio: ["pipe", "inherit", "inherit"] })
      child.on("error", resolve)
      child.on("close", resolve)
      child.stdin.end(reason)
    })

  return {
    event: async ({ event }) => take(event).catch(() => {}),
    "experimental.text.complete": async ({ sessionID }, { text }) => {
      if (!inner.has(sessionID)) said = text
    },
    "tool.execute.before": async ({ tool, sessionID, callID }, { args }) => {
      const allowed = options.guards && (await guard(sessionID, tool, args)) === "allow"
      if (!options.asks || !ASKED_FOR[tool]) return
      if (options.interactive) calls.set(callID, { tool, args })
      if (allowed) granted.set(callID, true)
      if (options.interactive || allowed) return
      const decision = await ask(sessionID, tool, args)
      if (decision?.behavior === "allow") granted.set(callID, true)
      else if (decision) throw new Error(decision.message || "It was denied.")
    },
    "tool.execute.after": async ({ callID }) => {
      calls.delete(callID)
    },
    dispose: async () => {
      if (options.interactive || !root || turn === "failed") return
      const reason = await judged().catch(() => undefined)
      if (reason) await goOn(reason)
    },
  }
}
