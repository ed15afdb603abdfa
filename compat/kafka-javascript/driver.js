// Confluent's client for JavaScript, by its API of KafkaJS, and by the older one where that lacks a call: driver.js
// FOLDER-OF-THE-CLIENT BROKER, which does what compat/drive/protocol.md says.
const { createRequire } = require('module')
const { promisify } = require('util')
const { drive } = require('../drive/kafkajs.js')

const [folder, broker] = process.argv.slice(2)
const { KafkaJS, AdminClient } = createRequire(folder + '/')('@confluentinc/kafka-javascript')
const { Kafka, logLevel, ConsumerGroupStates, ErrorCodes } = KafkaJS

const client = (settings = {}) => new Kafka({
  kafkaJS: {
    brokers: [broker], logLevel: logLevel.WARN,
    retry: { retries: 100, initialRetryTime: 100, maxRetryTime: 2000 }, ...settings
  }
})

// What librdkafka finds by itself, and Kafka's code for it.
const own = {
  [ErrorCodes.ERR__UNKNOWN_TOPIC]: 3, [ErrorCodes.ERR__UNKNOWN_PARTITION]: 3, [ErrorCodes.ERR__MSG_TIMED_OUT]: 7,
  [ErrorCodes.ERR__FENCED]: 90
}
const code = error => {
  const inside = error.errors?.[0] ?? error.groups?.find(group => group.error)?.error ?? error.partitions?.[0]?.error
  if (inside) return code(inside)
  return error.code > 0 ? error.code : own[error.code]
}

const connected = async (what, use) => {
  await what.connect()
  try {
    return await use(what)
  } finally {
    await what.disconnect()
  }
}

drive({
  client,
  code,
  producer: (settings, { acks, codec }) => client().producer({
    kafkaJS: { ...settings, acks, compression: codec }, 'topic.metadata.propagation.max.ms': 3000
  }),
  sending: () => ({}),
  consumer: ({ sessionTimeout, ...settings }, { protocol, assignor, instance }) => client().consumer({
    kafkaJS: {
      fromBeginning: true, autoCommit: false, allowAutoTopicCreation: false, maxWaitTimeInMs: 500, ...settings,
      ...(protocol !== 'consumer' && { heartbeatInterval: 500, ...(sessionTimeout && { sessionTimeout }) }),
      ...(assignor && { partitionAssigners: [KafkaJS.PartitionAssigners.cooperativeSticky] })
    },
    ...(protocol === 'consumer' && { 'group.protocol': 'consumer' }),
    ...(instance && { 'group.instance.id': instance })
  }),
  subscription: {},
  running: {},
  watch: consumer => () => consumer.assignment(),
  sendOffsets: (transaction, groupId, topics) => connected(
    client().consumer({ kafkaJS: { groupId } }), consumer => transaction.sendOffsets({ consumer, topics })
  ),
  calls: admin => ({
    metadata: async ({ topic }) => {
      const [{ partitions }] = await (await admin()).fetchTopicMetadata({ topics: [topic] })
      const leaders = new Set(partitions.map(({ leaderNode: { host, port } }) => `${host}:${port}`))
      return { brokers: [...leaders], partitions: partitions.length }
    },
    add_partitions: async ({ topic, total }) => {
      const old = AdminClient.create({ 'bootstrap.servers': broker })
      try {
        await promisify(old.createPartitions).call(old, topic, total, 5000)
      } finally {
        old.disconnect()
      }
    },
    describe_group: async ({ group }) => {
      const [found] = (await (await admin()).describeGroups([group])).groups
      const state = Object.keys(ConsumerGroupStates).find(name => ConsumerGroupStates[name] === found.state)
      return { state: state[0] + state.slice(1).toLowerCase(), members: found.members.length }
    }
  })
})
