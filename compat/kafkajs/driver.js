// kafkajs: driver.js FOLDER-OF-THE-CLIENT BROKER, which does what compat/drive/protocol.md says.
const { createRequire } = require('module')
const { serve, inbox, sleep, text } = require('../drive/driver.js')

const [folder, broker] = process.argv.slice(2)
const load = createRequire(folder + '/')
const kafkajs = load('kafkajs')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = load('kafkajs-snappy')
const LZ4 = load('kafkajs-lz4')
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec

const kafka = (settings = {}) => new Kafka({
  brokers: [broker], logLevel: logLevel.WARN, retry: { retries: 12, initialRetryTime: 100, maxRetryTime: 2000 }, ...settings
})

let connectedAdmin, producer, transaction, settings
const admin = async () => {
  if (!connectedAdmin) {
    connectedAdmin = kafka({ retry: { retries: 2 } }).admin()
    await connectedAdmin.connect()
  }
  return connectedAdmin
}
const entries = object => Object.entries(object).map(([name, value]) => ({ name, value }))

// ---- producing
const makeProducer = async ({ acks = 'all', codec = 'none', idempotent, transactional_id: transactionalId, refresh_ms: age }) => {
  if (producer) await producer.disconnect()
  producer = kafka().producer({
    idempotent: Boolean(idempotent || transactionalId), transactionalId, allowAutoTopicCreation: false,
    ...(age && { metadataMaxAge: age })
  })
  const types = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4' }
  settings = { acks: acks === 'all' ? -1 : Number(acks), compression: CompressionTypes[types[codec]] }
  await producer.connect()
}

const headers = pairs => {
  const found = {}
  for (const [name, value] of pairs ?? []) found[name] = name in found ? [].concat(found[name], value) : value
  return found
}

const send = async ({ topic, partition, records }) => {
  const messages = records.map(record => ({
    key: record.key ?? null, value: record.value ?? null, headers: headers(record.headers),
    ...(partition !== null && { partition }), ...(record.time && { timestamp: String(record.time) })
  }))
  const offsets = []
  for (const part of parts(messages)) {
    const [answer] = await (transaction ?? producer).send({ topic, messages: part, ...settings })
    const first = Number(answer?.baseOffset)
    offsets.push(...part.map((_, index) => partition === null || !answer ? null : first + index))
  }
  return offsets
}

// It makes one batch of what it is given at once: no more than the broker takes.
const parts = messages => {
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

const end = how => async () => {
  const ended = transaction
  transaction = undefined
  await ended[how]()
}

// ---- consuming
let member, owned, box, places, first
const run = async (groupSettings, topics) => {
  owned = []
  member = kafka().consumer({ heartbeatInterval: 500, maxWaitTimeInMs: 500, allowAutoTopicCreation: false, ...groupSettings })
  const place = {}
  box = inbox(polled => { for (const r of polled) place[r.partition] = { topic: r.topic, offset: r.offset + 1 } })
  places = place
  member.on(member.events.GROUP_JOIN, ({ payload }) => {
    owned = Object.entries(payload.memberAssignment).flatMap(([topic, list]) => list.map(p => `${topic}-${p}`))
  })
  member.on(member.events.REBALANCING, () => { owned = [] })
  await member.connect()
  for (const topic of topics) await member.subscribe({ topic, fromBeginning: true })
  await member.run({
    autoCommit: false,
    eachBatchAutoResolve: true,
    eachBatch: async ({ batch }) => {
      box.push(...batch.messages.map(m => ({
        topic: batch.topic, partition: batch.partition, offset: Number(m.offset), key: text(m.key), value: text(m.value),
        headers: Object.entries(m.headers).flatMap(([name, values]) => [].concat(values).map(v => [name, text(v)])),
        time: Number(m.timestamp)
      })).filter(r => r.offset >= (first ?? 0)))
    }
  })
}

const makeConsumer = async ({ group, topics, instance, session_ms: sessionTimeout = 6000, refresh_ms: metadataMaxAge }) => {
  first = undefined
  await run({ groupId: group, sessionTimeout, ...(metadataMaxAge && { metadataMaxAge }) }, topics)
}

// It has no consumer without a group: one of its own, and a seek.
const assign = async ({ topic, partition, offset, isolation, min_bytes: minBytes, wait_ms: maxWaitTimeInMs }) => {
  const found = (await (await admin()).fetchTopicOffsets(topic)).find(p => p.partition === partition)
  const from = offset === 'latest' ? Number(found.high) : offset === 'earliest' ? Number(found.low) : offset
  first = from
  await run({
    groupId: `alone-${process.pid}-${Date.now()}`, readUncommitted: isolation !== 'read_committed',
    ...(minBytes && { minBytes }), ...(maxWaitTimeInMs && { maxWaitTimeInMs })
  }, [topic])
  while (owned.length === 0) await sleep(10)
  member.seek({ topic, partition, offset: String(from) })
}

const commit = () => member.commitOffsets(Object.entries(places).map(([partition, { topic, offset }]) =>
  ({ topic, partition: Number(partition), offset: String(offset) })))

const close = async () => {
  await member.disconnect()
  member = undefined
}

// ---- asking
const offsetsOf = async ({ topic, partition }) => (await (await admin()).fetchTopicOffsets(topic)).find(p => p.partition === partition)

const calls = {
  create: async ({ topic, partitions, replicas = 1, config = {} }) => {
    const made = await (await admin()).createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries: entries(config) }]
    })
    // that is how it says so
    if (!made) throw Object.assign(new Error('it exists'), { code: 36, name: 'false' })
  },
  delete: async ({ topic }) => (await admin()).deleteTopics({ topics: [topic] }),
  topics: async () => (await admin()).listTopics(),
  metadata: async ({ topic }) => ({
    brokers: (await (await admin()).describeCluster()).brokers.map(({ host, port }) => `${host}:${port}`),
    partitions: (await (await admin()).fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
  }),
  producer: makeProducer,
  send,
  begin: async () => { transaction = await producer.transaction() },
  commit_transaction: end('commit'),
  abort_transaction: end('abort'),
  send_offsets: ({ group, topic, partition, offset }) => transaction.sendOffsets({
    consumerGroupId: group, topics: [{ topic, partitions: [{ partition, offset: String(offset) }] }]
  }),
  consumer: makeConsumer,
  assign,
  poll: call => box.poll(call),
  assignment: () => [...owned].sort(),
  commit,
  close,
  committed: async ({ group, topic, partitions }) => {
    const [found] = await (await admin()).fetchOffsets({ groupId: group, topics: [topic] })
    return partitions.map(p => Number(found.partitions.find(({ partition }) => partition === p)?.offset ?? -1))
  },
  range: async call => { const { low, high } = await offsetsOf(call); return [Number(low), Number(high)] },
  at_time: async ({ topic, partition, time }) => {
    const found = (await (await admin()).fetchTopicOffsetsByTimestamp(topic, time)).find(p => p.partition === partition)
    const { high } = await offsetsOf({ topic, partition }) // it answers the end where there is none
    return found.offset === high ? -1 : Number(found.offset)
  },
  add_partitions: async ({ topic, total }) => (await admin()).createPartitions({ topicPartitions: [{ topic, count: total }] }),
  get_config: async ({ topic, name }) => (await (await admin()).describeConfigs({
    resources: [{ type: 2, name: topic, configNames: [name] }], includeSynonyms: false
  })).resources[0].configEntries[0].configValue,
  set_config: async ({ topic, name, value }) => (await admin()).alterConfigs({
    validateOnly: false, resources: [{ type: 2, name: topic, configEntries: [{ name, value }] }]
  }),
  groups: async () => (await (await admin()).listGroups()).groups.map(group => group.groupId),
  describe_group: async ({ group }) => {
    const [found] = (await (await admin()).describeGroups([group])).groups
    return { state: found.state, members: found.members.length }
  },
  delete_group: async ({ group }) => (await admin()).deleteGroups([group]),
  alter_offsets: async ({ group, topic, partition, offset }) => (await admin()).setOffsets({
    groupId: group, topic, partitions: [{ partition, offset: String(offset) }]
  }),
  delete_records: async ({ topic, partition, before }) => {
    await offsetsOf({ topic, partition }) // it knows the leader only then
    await (await admin()).deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
  }
}

// What it says of several, and of retries, is around what the broker said.
const code = error => error.code ?? (error.errors?.length ? code(error.errors[0]) : undefined) ??
  (error.groups?.length ? error.groups[0].errorCode : undefined) ?? (error.cause ? code(error.cause) : undefined) ??
  (error.partitions?.length ? code(error.partitions[0]) : undefined)

serve(calls, code, async () => {
  for (const each of [member, producer, connectedAdmin]) await each?.disconnect()
})
