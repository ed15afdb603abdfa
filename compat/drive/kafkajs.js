// The driver of the clients with the API of KafkaJS: kafkajs itself, and Confluent's, which grew out of it. What they
// do differently is in the `dialect` that each one's driver.js gives.
const { serve, inbox, parts, sleep, text } = require('./driver.js')

/*
 * dialect: {
 *   client(settings)                           a Kafka, with settings beside the brokers
 *   producer(settings, sending)                a producer; `sending` is { acks, codec }
 *   sending({ acks, codec })                   what goes into each `send`
 *   consumer(settings, call)                   a consumer from the start of its topics, which does not commit by itself
 *   subscription                               what goes into `subscribe`
 *   running                                    what goes into `run`
 *   watch(consumer)                            a function that gives the partitions it owns, [{ topic, partition }]
 *   sendOffsets(transaction, group, topics)
 *   calls(admin)                               the calls that only this client has; `admin` is async
 *   code(error)                                Kafka's code for the client's
 * }
 */
exports.drive = dialect => {
  let connectedAdmin, producer, transaction, sending
  const admin = async () => {
    if (!connectedAdmin) {
      connectedAdmin = dialect.client({ retry: { retries: 2 } }).admin()
      await connectedAdmin.connect()
    }
    return connectedAdmin
  }

  // ---- producing
  const makeProducer = async ({ acks = 'all', codec = 'none', idempotent, ...call }) => {
    const { transactional_id: transactionalId, refresh_ms: metadataMaxAge } = call
    if (producer) await producer.disconnect()
    const how = { acks: acks === 'all' ? -1 : Number(acks), codec }
    producer = dialect.producer({
      idempotent: Boolean(idempotent || transactionalId), allowAutoTopicCreation: false,
      ...(transactionalId && { transactionalId }), ...(metadataMaxAge && { metadataMaxAge })
    }, how)
    sending = dialect.sending(how)
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
      const [answer] = await (transaction ?? producer).send({ topic, messages: part, ...sending })
      const first = Number(answer?.baseOffset)
      offsets.push(...part.map((_, index) => partition === null || !answer ? null : first + index))
    }
    return offsets
  }

  const end = how => async () => {
    const ended = transaction
    transaction = undefined
    await ended[how]()
  }

  // ---- consuming
  const read = ({ topic, partition }, { offset, key, value, headers, timestamp }) => ({
    topic, partition, offset: Number(offset), key: text(key), value: text(value), time: Number(timestamp),
    headers: Object.entries(headers ?? {}).flatMap(([name, values]) => [].concat(values).map(v => [name, text(v)]))
  })

  let member, owned, box, places
  const run = async (settings, topics, call, first = 0) => {
    member = dialect.consumer(settings, call)
    owned = dialect.watch(member)
    const place = {}
    const into = inbox(polled => {
      for (const { topic, partition, offset } of polled) {
        place[`${topic}-${partition}`] = { topic, partition, offset: String(offset + 1) }
      }
    })
    box = into
    places = place
    await member.connect()
    for (const topic of topics) await member.subscribe({ topic, ...dialect.subscription })
    await member.run({
      ...dialect.running,
      eachBatchAutoResolve: true,
      eachBatch: async ({ batch }) => {
        into.push(...batch.messages.map(message => read(batch, message)).filter(r => r.offset >= first))
      }
    })
  }

  const makeConsumer = ({ group, topics, session_ms: sessionTimeout = 6000, refresh_ms: metadataMaxAge, ...call }) =>
    run({ groupId: group, sessionTimeout, ...(metadataMaxAge && { metadataMaxAge }) }, topics, call)

  // They have no consumer without a group: one of its own, and a seek.
  const assign = async ({ topic, partition, offset, isolation, min_bytes: minBytes, wait_ms: maxWaitTimeInMs }) => {
    const { low, high } = await offsetsOf({ topic, partition })
    const from = offset === 'latest' ? Number(high) : offset === 'earliest' ? Number(low) : offset
    await run({
      groupId: `alone-${process.pid}-${Date.now()}`, readUncommitted: isolation !== 'read_committed',
      ...(minBytes && { minBytes }), ...(maxWaitTimeInMs && { maxWaitTimeInMs })
    }, [topic], {}, from)
    while (owned().length === 0) await sleep(10)
    member.seek({ topic, partition, offset: String(from) })
  }

  const commit = () => member.commitOffsets(Object.values(places))

  const close = async () => {
    await member.disconnect()
    member = undefined
  }

  // ---- asking
  const of = (offsets, partition) => offsets.find(found => found.partition === partition)
  const offsetsOf = async ({ topic, partition }) => of(await (await admin()).fetchTopicOffsets(topic), partition)

  const calls = {
    create: async ({ topic, partitions, replicas = 1, config = {} }) => {
      const made = await (await admin()).createTopics({
        topics: [{
          topic, numPartitions: partitions, replicationFactor: replicas,
          configEntries: Object.entries(config).map(([name, value]) => ({ name, value }))
        }]
      })
      // that is how they say so
      if (!made) throw Object.assign(new Error('it exists'), { code: 36, name: 'false' })
    },
    delete: async ({ topic }) => { await (await admin()).deleteTopics({ topics: [topic] }) },
    topics: async () => (await admin()).listTopics(),
    producer: makeProducer,
    send,
    begin: async () => { transaction = await producer.transaction() },
    commit_transaction: end('commit'),
    abort_transaction: end('abort'),
    send_offsets: ({ group, topic, partition, offset }) =>
      dialect.sendOffsets(transaction, group, [{ topic, partitions: [{ partition, offset: String(offset) }] }]),
    consumer: makeConsumer,
    assign,
    poll: call => box.poll(call),
    assignment: () => owned().map(({ topic, partition }) => `${topic}-${partition}`).sort(),
    commit,
    close,
    committed: async ({ group, topic, partitions }) => {
      const [found] = await (await admin()).fetchOffsets({ groupId: group, topics: [topic] })
      return partitions.map(partition => Number(of(found?.partitions ?? [], partition)?.offset ?? -1))
    },
    range: async call => { const { low, high } = await offsetsOf(call); return [Number(low), Number(high)] },
    at_time: async ({ topic, partition, time }) => {
      const found = of(await (await admin()).fetchTopicOffsetsByTimestamp(topic, time), partition)
      const { high } = await offsetsOf({ topic, partition }) // they answer the end where there is none
      return found.offset === high ? -1 : Number(found.offset)
    },
    groups: async () => (await (await admin()).listGroups()).groups.map(group => group.groupId),
    delete_group: async ({ group }) => { await (await admin()).deleteGroups([group]) },
    delete_records: async ({ topic, partition, before }) => {
      await offsetsOf({ topic, partition }) // kafkajs knows the leader only then
      await (await admin()).deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
    },
    ...dialect.calls(admin)
  }

  serve(calls, dialect.code, async () => {
    for (const each of [member, producer, connectedAdmin]) await each?.disconnect()
  })
}
