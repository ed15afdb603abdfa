// kafkajs: driver.js FOLDER-OF-THE-CLIENT BROKER, which does what compat/drive/protocol.md says.
const { createRequire } = require('module')
const { drive } = require('../drive/kafkajs.js')

const [folder, broker] = process.argv.slice(2)
const load = createRequire(folder + '/')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = load('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = load('kafkajs-snappy')
const LZ4 = load('kafkajs-lz4')
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec
CompressionTypes.Unknown = 5 // which Kafka does not know
CompressionCodecs[CompressionTypes.Unknown] = () => ({ compress: encoder => encoder.buffer })
const types = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD', 5: 'Unknown' }

const client = (settings = {}) => new Kafka({
  brokers: [broker], logLevel: logLevel.WARN,
  retry: { retries: 18, initialRetryTime: 100, maxRetryTime: 2000 }, ...settings
})

// What it says of several, and of retries, is around what the broker said.
const code = error => error.code ?? (error.errors?.length ? code(error.errors[0]) : undefined) ??
  (error.groups?.length ? error.groups[0].errorCode : undefined) ?? (error.cause ? code(error.cause) : undefined) ??
  (error.partitions?.length ? code(error.partitions[0]) : undefined)

drive({
  client,
  code,
  producer: settings => client().producer(settings),
  sending: ({ acks, codec }) => ({ acks, compression: CompressionTypes[types[codec]] }),
  consumer: settings => client().consumer({
    heartbeatInterval: 500, maxWaitTimeInMs: 500, allowAutoTopicCreation: false, ...settings
  }),
  subscription: { fromBeginning: true },
  running: { autoCommit: false },
  watch: consumer => {
    let owned = []
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      owned = Object.entries(payload.memberAssignment)
        .flatMap(([topic, list]) => list.map(partition => ({ topic, partition })))
    })
    consumer.on(consumer.events.REBALANCING, () => { owned = [] })
    return () => owned
  },
  sendOffsets: (transaction, consumerGroupId, topics) => transaction.sendOffsets({ consumerGroupId, topics }),
  calls: admin => ({
    metadata: async ({ topic }) => ({
      brokers: (await (await admin()).describeCluster()).brokers.map(({ host, port }) => `${host}:${port}`),
      partitions: (await (await admin()).fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
    }),
    add_partitions: async ({ topic, total: count }) =>
      (await admin()).createPartitions({ topicPartitions: [{ topic, count }] }),
    get_config: async ({ topic, name }) => (await (await admin()).describeConfigs({
      resources: [{ type: 2, name: topic, configNames: [name] }], includeSynonyms: false
    })).resources[0].configEntries[0].configValue,
    set_config: async ({ topic, name, value }) => (await admin()).alterConfigs({
      validateOnly: false, resources: [{ type: 2, name: topic, configEntries: [{ name, value }] }]
    }),
    describe_group: async ({ group }) => {
      const [found] = (await (await admin()).describeGroups([group])).groups
      return { state: found.state, members: found.members.length }
    },
    alter_offsets: async ({ group, topic, partition, offset }) => (await admin()).setOffsets({
      groupId: group, topic, partitions: [{ partition, offset: String(offset) }]
    })
  })
})
