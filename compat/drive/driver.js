// What the drivers of the Node clients share: calls come in, answers go out. See protocol.md beside this.
const readline = require('readline')

// Answer the calls on the input, each with the function of its name; `code` gives an error's Kafka code, `type` the
// client's name for it.
exports.serve = async (calls, code, end, type = error => error.name ?? 'Error') => {
  console.log = console.error // only answers go to the output
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...call } = JSON.parse(line)
    let answer
    try {
      answer = { ok: (await calls[name](call)) ?? null }
    } catch (error) {
      console.error(name, error)
      const found = code(error) // of a socket's error it is a word
      const number = Number.isInteger(found) ? found : -1
      answer = { error: { code: number, type: type(error), text: String(error.message) } }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  await end()
  process.exit(0)
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
exports.sleep = sleep

// Records that the client pushes, until they are polled; `given` is called with those that are.
exports.inbox = given => {
  const arrived = []
  return {
    push: (...records) => arrived.push(...records),
    poll: async ({ ms }) => {
      const deadline = Date.now() + ms
      while (arrived.length === 0 && Date.now() < deadline) await sleep(5)
      if (arrived.length > 0) await sleep(50) // what comes together is given together
      const polled = arrived.splice(0)
      given(polled)
      return polled
    }
  }
}

// Some clients make one batch of what they are given at once: no more than the broker takes.
exports.parts = messages => {
  const found = [[]]
  let octets = 0
  for (const message of messages) {
    octets += (message.value?.length ?? 0) + 100
    if (octets > 1000000) {
      found.push([])
      octets = message.value.length + 100
    }
    found.at(-1).push(message)
  }
  return found
}

exports.text = octets => octets === null || octets === undefined ? null : octets.toString()
