// @platformatic/kafka: driver.js FOLDER-OF-THE-CLIENT BROKER, which does what compat/drive/protocol.md says.
const { createRequire } = require('module')
const { serve, inbox, parts, sleep } = require('../drive/driver.js')

const [folder, broker] = process.argv.slice(2)
const location = createRequire(folder + '/').resolve('@platformatic/kafka')

const start = async () => {
  const { Admin, Producer, Consumer, cooperativeStickyAssigner, stringSerializers, stringDeserializers } = await import(location)
  const base = { clientId: 'compat', bootstrapBrokers: [broker], retries: 30, retryDelay: 300, metadataMaxAge: 1000 }
  const admin = new Admin({ ...base, retries: 3 })
  let producer, transaction, sending, transactionalId
  let consumer, stream, box, last

  // ---- producing
  const makeProducer = async ({ acks = 'all', codec = 'none', idempotent, transactional_id: id }) => {
    if (producer) await producer.close()
    transactionalId = id
    producer = new Producer({
      ...base, serializers: stringSerializers, ...(id && { transactionalId: id }),
      ...((idempotent || id) && { idempotent: true }), autocreateTopics: false
    })
    sending = { acks: acks === 'all' ? -1 : Number(acks), compression: codec }
  }

  const send = async ({ topic, partition, records }) => {
    const messages = records.map(record => ({
      topic, ...(record.key != null && { key: record.key }), ...(record.value != null && { value: record.value }),
      ...(partition !== null && { partition }), ...(record.time && { timestamp: BigInt(record.time) }),
      headers: new Map(record.headers ?? [])
    }))
    for (const part of parts(messages)) await (transaction ?? producer).send({ messages: part, ...sending })
    return null
  }

  const end = how => async () => {
    const ended = transaction
    transaction = undefined
    await ended[how]()
  }

  // ---- consuming
  const run = async (settings, consuming) => {
    last = new Map()
    box = inbox(polled => polled.forEach(record => last.set(record.partition, record)))
    consumer = new Consumer({
      ...base, deserializers: stringDeserializers, autocommit: false, maxWaitTime: 500, heartbeatInterval: 500, ...settings
    })
    stream = await consumer.consume(consuming)
    const into = box
    stream.on('data', message => into.push({
      topic: message.topic, partition: message.partition, offset: Number(message.offset), key: message.key ?? null,
      value: message.value ?? null, headers: message.headerEntries, time: Number(message.timestamp), leaderEpoch: message.leaderEpoch
    }))
    stream.on('error', error => console.error('stream', error))
  }

  const makeConsumer = ({ group, topics, protocol, assignor, instance, session_ms: sessionTimeout = 6000 }) => run({
    groupId: group, ...(instance && { groupInstanceId: instance }),
    ...(protocol === 'consumer' ? { groupProtocol: 'consumer' } : { sessionTimeout, rebalanceTimeout: 30000 }),
    ...(assignor && { partitionAssigner: cooperativeStickyAssigner, protocols: [{ name: 'cooperative-sticky', version: 1 }] })
  }, { topics, mode: 'committed', fallbackMode: 'earliest' })

  // It has no consumer without a group: one of its own.
  const assign = async ({ topic, partition, offset, isolation, min_bytes: minBytes, wait_ms: maxWaitTime }) => {
    const consuming = typeof offset === 'number'
      ? { mode: 'manual', offsets: [{ topic, partition, offset: BigInt(offset) }] }
      : { mode: offset }
    await run({
      groupId: `alone-${process.pid}-${Date.now()}`, isolationLevel: isolation === 'read_committed' ? 1 : 0,
      ...(minBytes && { minBytes }), ...(maxWaitTime && { maxWaitTime })
    }, { topics: [topic], ...consuming })
  }

  const close = async () => {
    await stream.close()
    await consumer.close(true)
    consumer = undefined
  }

  // ---- asking
  const offsetAt = async (topic, partition, timestamp) => {
    const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }] })
    return Number(found.partitions[0].offset)
  }

  const calls = {
    create: ({ topic, partitions, replicas = 1, config = {} }) => admin.createTopics({
      topics: [topic], partitions, replicas, configs: Object.entries(config).map(([name, value]) => ({ name, value }))
    }).then(() => null),
    delete: ({ topic }) => admin.deleteTopics({ topics: [topic] }),
    topics: () => admin.listTopics(),
    metadata: async ({ topic }) => {
      const found = await admin.metadata({ topics: [topic], forceUpdate: true })
      return {
        brokers: [...found.brokers.values()].map(({ host, port }) => `${host}:${port}`),
        partitions: found.topics.get(topic)?.partitionsCount ?? 0
      }
    },
    producer: makeProducer,
    send,
    begin: async () => { transaction = await producer.beginTransaction({ transactionalId }) },
    commit_transaction: end('commit'),
    abort_transaction: end('abort'),
    consumer: makeConsumer,
    assign,
    poll: call => box.poll(call),
    assignment: () => (consumer.assignments ?? []).flatMap(({ topic, partitions }) => partitions.map(p => `${topic}-${p}`)).sort(),
    commit: () => consumer.commit({
      offsets: [...last.values()].map(({ topic, partition, offset, leaderEpoch }) =>
        ({ topic, partition, offset: BigInt(offset + 1), leaderEpoch: leaderEpoch ?? -1 }))
    }),
    close,
    committed: async ({ group, topic, partitions }) => {
      const [found] = await admin.listConsumerGroupOffsets({ groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes: partitions }] }] })
      const of = found.topics.find(({ name }) => name === topic)?.partitions ?? []
      return partitions.map(p => Number(of.find(({ partitionIndex }) => partitionIndex === p)?.committedOffset ?? -1))
    },
    range: async ({ topic, partition }) => [await offsetAt(topic, partition, -2n), await offsetAt(topic, partition, -1n)],
    at_time: ({ topic, partition, time }) => offsetAt(topic, partition, BigInt(time)),
    add_partitions: ({ topic, total }) => admin.createPartitions({ topics: [{ name: topic, count: total }] }),
    get_config: async ({ topic, name }) => (await admin.describeConfigs({
      resources: [{ resourceType: 2, resourceName: topic, configurationKeys: [name] }]
    }))[0].configs[0].value,
    set_config: ({ topic, name, value }) => admin.incrementalAlterConfigs({
      resources: [{ resourceType: 2, resourceName: topic, configs: [{ name, configOperation: 0, value }] }]
    }),
    groups: async () => [...(await admin.listGroups()).keys()],
    describe_group: async ({ group }) => {
      const found = (await admin.describeGroups({ groups: [group] })).get(group)
      return { state: found.state[0] + found.state.slice(1).toLowerCase(), members: found.members.size }
    },
    delete_group: ({ group }) => admin.deleteGroups({ groups: [group] }),
    alter_offsets: ({ group, topic, partition, offset }) => admin.alterConsumerGroupOffsets({
      groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition, offset: BigInt(offset) }] }]
    }),
    delete_records: ({ topic, partition, before }) => admin.deleteRecords({
      topics: [{ name: topic, partitions: [{ partition, offset: BigInt(before) }] }]
    }).then(() => null)
  }

  // What the broker said is in the errors of its errors.
  const code = error => error.apiCode ?? error.errors?.map(code).find(found => found !== undefined) ??
    (error.cause ? code(error.cause) : undefined)
  // They have their own names for what the broker said, and for what they found.
  const innermost = error => error.errors?.length ? innermost(error.errors[0]) : error.cause ? innermost(error.cause) : error
  const type = error => innermost(error).apiId ?? innermost(error).code ?? innermost(error).name

  await serve(calls, code, async () => {
    await Promise.race([Promise.allSettled([consumer?.close(true), producer?.close(), admin.close()]), sleep(5000)])
  }, type)
}

start()
