// The driver of sarama, of any version: it does what compat/drive/protocol.md says.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"braid/drive"

	"github.com/IBM/sarama"
)

type call = drive.Call

var (
	brokers  = []string{os.Args[1]}
	client   sarama.Client
	admin    sarama.ClusterAdmin
	producer sarama.SyncProducer
	inbox    *drive.Inbox
	polled   []drive.Record
	topicOf  string
	leave    func() error
	group    *member

	cooperative  sarama.BalanceStrategy
	alterOffsets func(*call) (any, error)
)

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 20 // long enough for a broker to come back
	config.Producer.Retry.Max = 50
	config.Producer.Return.Successes = true
	config.Producer.MaxMessageBytes = 1_000_000
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

// ---- producing

// byKeyOrAsTold: a record that is for no partition in particular has -1.
type byKeyOrAsTold struct{ sarama.Partitioner }

func (b byKeyOrAsTold) Partition(message *sarama.ProducerMessage, partitions int32) (int32, error) {
	if told, ok := message.Metadata.(int32); ok {
		return told, nil
	}
	return b.Partitioner.Partition(message, partitions)
}

func makeProducer(c *call) (any, error) {
	if producer != nil {
		_ = producer.Close()
	}
	config := settings()
	config.Producer.Partitioner = func(topic string) sarama.Partitioner {
		return byKeyOrAsTold{sarama.NewHashPartitioner(topic)}
	}
	if c.Codec != "" {
		if err := config.Producer.Compression.UnmarshalText([]byte(c.Codec)); err != nil {
			return nil, err
		}
	}
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll, "": sarama.WaitForAll,
	}[c.Acks]
	if c.Idempotent || c.TransactionalID != "" {
		config.Producer.Idempotent = true
		config.Producer.Transaction.ID = c.TransactionalID
		config.Net.MaxOpenRequests = 1 // it asks for that
	}
	if c.RefreshMs != 0 {
		config.Metadata.RefreshFrequency = time.Duration(c.RefreshMs) * time.Millisecond
	}
	var err error
	producer, err = sarama.NewSyncProducer(brokers, config)
	return nil, err
}

func send(c *call) (any, error) {
	sent := make([]*sarama.ProducerMessage, len(c.Records))
	for i, r := range c.Records {
		message := &sarama.ProducerMessage{Topic: c.Topic, Key: encoder(r.Key), Value: encoder(r.Value)}
		for _, header := range r.Headers {
			message.Headers = append(message.Headers,
				sarama.RecordHeader{Key: []byte(*header[0]), Value: drive.Bytes(header[1])})
		}
		if r.Time != 0 {
			message.Timestamp = time.UnixMilli(r.Time)
		}
		if c.Partition != nil {
			message.Metadata = *c.Partition
		}
		sent[i] = message
	}
	err := producer.SendMessages(sent)
	var several sarama.ProducerErrors
	if errors.As(err, &several) {
		return nil, several[0].Err // it says only how many there are
	} else if err != nil {
		return nil, err
	}
	offsets := make([]int64, len(sent))
	for i, message := range sent {
		offsets[i] = message.Offset
	}
	return offsets, nil
}

func encoder(text *string) sarama.Encoder {
	if text == nil {
		return nil
	}
	return sarama.StringEncoder(*text)
}

func sendOffsets(c *call) (any, error) {
	offsets := []*sarama.PartitionOffsetMetadata{{Partition: *c.Partition, Offset: c.At()}}
	return nil, producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{c.Topic: offsets}, c.Group)
}

// ---- consuming

// member is a member of a group: sarama calls it when a generation begins and when it ends.
type member struct {
	lock    sync.Mutex
	session sarama.ConsumerGroupSession
	inbox   *drive.Inbox
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return m.Setup(nil) }

func (m *member) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.inbox.Push(record(message))
	}
	return nil
}

func record(m *sarama.ConsumerMessage) drive.Record {
	found := drive.Record{Partition: m.Partition, Offset: m.Offset, Key: drive.Text(m.Key), Value: drive.Text(m.Value),
		Time: m.Timestamp.UnixMilli(), Headers: [][2]*string{}}
	for _, header := range m.Headers {
		found.Headers = append(found.Headers, drive.Header(string(header.Key), header.Value))
	}
	return found
}

func makeConsumer(c *call) (any, error) {
	config := settings()
	config.Consumer.Group.Session.Timeout = c.Session()
	config.Consumer.Group.InstanceId = c.Instance
	if c.Assignor == "cooperative" {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{cooperative}
	}
	if c.RefreshMs != 0 {
		config.Metadata.RefreshFrequency = time.Duration(c.RefreshMs) * time.Millisecond
	}
	consumers, err := sarama.NewConsumerGroup(brokers, c.Group, config)
	if err != nil {
		return nil, err
	}
	inbox, topicOf = &drive.Inbox{}, c.Topics[0]
	one := &member{inbox: inbox}
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for running.Err() == nil { // it ends at each rebalance
			if err := consumers.Consume(running, c.Topics, one); err != nil {
				log.Println("consume:", err)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	leave = func() error {
		cancel()
		<-ended
		return consumers.Close()
	}
	group = one
	return nil, nil
}

func assign(c *call) (any, error) {
	config := settings()
	if c.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if c.MinBytes != 0 {
		config.Consumer.Fetch.Min = int32(c.MinBytes)
		config.Consumer.Fetch.Default = 2_000_000
		config.Consumer.MaxWaitTime = time.Duration(c.WaitMs) * time.Millisecond
	}
	consumer, err := sarama.NewConsumer(brokers, config)
	if err != nil {
		return nil, err
	}
	part, err := consumer.ConsumePartition(c.Topic, *c.Partition, c.At())
	if err != nil {
		return nil, err
	}
	inbox, group = &drive.Inbox{}, nil
	into := inbox
	go func() {
		for message := range part.Messages() {
			into.Push(record(message))
		}
	}()
	leave = func() error {
		return errors.Join(part.Close(), consumer.Close())
	}
	return nil, nil
}

func poll(c *call) (any, error) {
	records := inbox.Poll(c.Ms)
	polled = append(polled, records...)
	return records, nil
}

func assignment(*call) (any, error) {
	group.lock.Lock()
	defer group.lock.Unlock()
	if group.session == nil {
		return []string{}, nil
	}
	return drive.Owned(group.session.Claims()), nil
}

func commit(*call) (any, error) {
	group.lock.Lock()
	defer group.lock.Unlock()
	for _, one := range polled {
		group.session.MarkOffset(topicOf, one.Partition, one.Offset+1, "")
	}
	polled = nil
	group.session.Commit()
	return nil, nil
}

func closeConsumer(*call) (any, error) {
	end := leave
	leave, polled = nil, nil
	return nil, end()
}

// ---- asking

func metadata(c *call) (any, error) {
	nodes, _, err := admin.DescribeCluster()
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, node := range nodes {
		names = append(names, node.Addr())
	}
	topics, err := admin.DescribeTopics([]string{c.Topic})
	if err != nil {
		return nil, err
	}
	return map[string]any{"brokers": names, "partitions": len(topics[0].Partitions)}, nil
}

func committed(c *call) (any, error) {
	found, err := admin.ListConsumerGroupOffsets(c.Group, map[string][]int32{c.Topic: c.List()})
	if err != nil {
		return nil, err
	}
	offsets := []int64{}
	for _, partition := range c.List() {
		offsets = append(offsets, found.GetBlock(c.Topic, partition).Offset)
	}
	return offsets, nil
}

func offsetRange(c *call) (any, error) {
	if err := client.RefreshMetadata(c.Topic); err != nil {
		return nil, err
	}
	first, err := client.GetOffset(c.Topic, *c.Partition, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	next, err := client.GetOffset(c.Topic, *c.Partition, sarama.OffsetNewest)
	return []int64{first, next}, err
}

func getConfig(c *call) (any, error) {
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: c.Topic, ConfigNames: []string{c.Name}}
	found, err := admin.DescribeConfig(resource)
	if err != nil {
		return nil, err
	}
	return found[0].Value, nil
}

func setConfig(c *call) (any, error) {
	entries := map[string]sarama.IncrementalAlterConfigsEntry{
		c.Name: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &c.Value},
	}
	return nil, admin.IncrementalAlterConfig(sarama.TopicResource, c.Topic, entries, false)
}

func names[V any](of map[string]V, err error) (any, error) {
	found := []string{}
	for name := range of {
		found = append(found, name)
	}
	return found, err
}

func describeGroup(c *call) (any, error) {
	found, err := admin.DescribeConsumerGroups([]string{c.Group})
	if err != nil {
		return nil, err
	}
	return map[string]any{"state": found[0].State, "members": len(found[0].Members)}, nil
}

func code(err error) (int, string) {
	var known sarama.KError
	var ofTopic *sarama.TopicError
	var ofPartition *sarama.TopicPartitionError
	switch {
	case errors.As(err, &ofTopic):
		known = ofTopic.Err
	case errors.As(err, &ofPartition):
		known = ofPartition.Err
	case !errors.As(err, &known):
		return -1, strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
	}
	return int(known), fmt.Sprintf("KError %d", int16(known))
}

func main() {
	var err error
	if client, err = sarama.NewClient(brokers, settings()); err != nil {
		panic(err)
	}
	if admin, err = sarama.NewClusterAdmin(brokers, settings()); err != nil {
		panic(err)
	}
	drive.Serve(map[string]func(*call) (any, error){
		"create": func(c *call) (any, error) {
			return nil, admin.CreateTopic(c.Topic, &sarama.TopicDetail{
				NumPartitions: int32(c.Count()), ReplicationFactor: c.Replication(), ConfigEntries: c.Config}, false)
		},
		"delete":             func(c *call) (any, error) { return nil, admin.DeleteTopic(c.Topic) },
		"topics":             func(c *call) (any, error) { return names(admin.ListTopics()) },
		"metadata":           metadata,
		"producer":           makeProducer,
		"send":               send,
		"begin":              func(*call) (any, error) { return nil, producer.BeginTxn() },
		"commit_transaction": func(*call) (any, error) { return nil, producer.CommitTxn() },
		"abort_transaction":  func(*call) (any, error) { return nil, producer.AbortTxn() },
		"send_offsets":       sendOffsets,
		"consumer":           makeConsumer,
		"assign":             assign,
		"poll":               poll,
		"assignment":         assignment,
		"commit":             commit,
		"close":              closeConsumer,
		"committed":          committed,
		"range":              offsetRange,
		"at_time": func(c *call) (any, error) {
			if err := client.RefreshMetadata(c.Topic); err != nil {
				return nil, err
			}
			return client.GetOffset(c.Topic, *c.Partition, c.Time)
		},
		"add_partitions": func(c *call) (any, error) {
			return nil, admin.CreatePartitions(c.Topic, int32(c.Total), nil, false)
		},
		"get_config":     getConfig,
		"set_config":     setConfig,
		"groups":         func(c *call) (any, error) { return names(admin.ListConsumerGroups()) },
		"describe_group": describeGroup,
		"delete_group":   func(c *call) (any, error) { return nil, admin.DeleteConsumerGroup(c.Group) },
		"alter_offsets":  alterOffsets,
		"delete_records": func(c *call) (any, error) {
			return nil, admin.DeleteRecords(c.Topic, map[int32]int64{*c.Partition: c.Before})
		},
	}, code)
	if leave != nil {
		_ = leave()
	}
}
