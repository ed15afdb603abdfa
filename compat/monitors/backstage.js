// The Kafka page of Backstage, without the rest of Backstage: backstage.js FOLDER BROKER PORT serves what it shows.
const { createRequire } = require('module')

const [folder, broker, port] = process.argv.slice(2)
const load = createRequire(folder + '/')
const express = load('express')
const { ConfigReader } = load('@backstage/config')
const { createRouter } = load('@backstage-community/plugin-kafka-backend')

const logger = { debug () {}, info: console.error, warn: console.error, error: console.error, child: () => logger }
const config = new ConfigReader({
  backend: { baseUrl: `http://127.0.0.1:${port}` },
  kafka: { clientId: 'backstage', clusters: [{ name: 'here', brokers: [broker] }] }
})
const start = async () => {
  const app = express()
  app.use('/api/kafka', await createRouter({ logger, config }))
  app.listen(Number(port), '127.0.0.1')
}

start()
