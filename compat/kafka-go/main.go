// The driver of segmentio/kafka-go, of any version: it does what compat/drive/protocol.md says.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"braid/drive"

	"github.com/segmentio/kafka-go"
)

type call = drive.Call

var (
	background = context.Background()
	broker     = os.Args[1]
	client     = &kafka.Client{Addr: kafka.TCP(broker), Timeout: 10 * time.Second}
	writer     *kafka.Writer
	inbox      *drive.Inbox
	polled     []drive.Record
	topicOf    string
	leave      func() error
	lock       sync.Mutex
	generation *kafka.Generation
)

// ---- producing

// A message that is for no partition in particular goes by its key.
type byKeyOrAsTold struct{ told *int32 }

func (b *byKeyOrAsTold) Balance(message kafka.Message, partitions ...int) int {
	if b.told != nil {
		return int(*b.told)
	}
	return (&kafka.Hash{}).Balance(message, partitions...)
}

func makeProducer(c *call) (any, error) {
	if writer != nil {
		_ = writer.Close()
	}
	writer = &kafka.Writer{
		Addr: kafka.TCP(broker), BatchTimeout: 5 * time.Millisecond, BatchBytes: 1_000_000, BatchSize: 1000,
		MaxAttempts: 30, RequiredAcks: kafka.RequireAll, Balancer: &byKeyOrAsTold{},
		Transport: &kafka.Transport{MetadataTTL: time.Second},
	}
	if c.Codec != "" && c.Codec != "none" {
		if err := writer.Compression.UnmarshalText([]byte(c.Codec)); err != nil {
			return nil, err
		}
	}
	if c.Acks != "" {
		return nil, writer.RequiredAcks.UnmarshalText([]byte(map[string]string{"0": "none", "1": "one", "all": "all"}[c.Acks]))
	}
	return nil, nil
}

func send(c *call) (any, error) {
	writer.Balancer.(*byKeyOrAsTold).told = c.Partition
	sent := make([]kafka.Message, len(c.Records))
	for i, r := range c.Records {
		sent[i] = kafka.Message{Topic: c.Topic, Key: drive.Bytes(r.Key), Value: drive.Bytes(r.Value)}
		for _, header := range r.Headers {
			sent[i].Headers = append(sent[i].Headers, kafka.Header{Key: *header[0], Value: drive.Bytes(header[1])})
		}
		if r.Time != 0 {
			sent[i].Time = time.UnixMilli(r.Time)
		}
	}
	return nil, writer.WriteMessages(background, sent...)
}

// ---- consuming

func record(m kafka.Message) drive.Record {
	found := drive.Record{Partition: int32(m.Partition), Offset: m.Offset, Key: drive.Text(m.Key),
		Value: drive.Text(m.Value), Time: m.Time.UnixMilli(), Headers: [][2]*string{}}
	for _, header := range m.Headers {
		value := append([]byte{}, header.Value...) // it gives nil for both a null and nothing
		found.Headers = append(found.Headers, drive.Header(header.Key, value))
	}
	return found
}

func reader(c *call, partition int) *kafka.Reader {
	config := kafka.ReaderConfig{Brokers: []string{broker}, Topic: c.Topic, Partition: partition, MaxBytes: 10_000_000,
		MinBytes: 1, MaxWait: 500 * time.Millisecond, ReadBackoffMin: 10 * time.Millisecond}
	if c.MinBytes != 0 {
		config.MinBytes, config.MaxWait = c.MinBytes, time.Duration(c.WaitMs)*time.Millisecond
	}
	if c.Isolation == "read_committed" {
		config.IsolationLevel = kafka.ReadCommitted
	}
	return kafka.NewReader(config)
}

func read(from *kafka.Reader, until context.Context, into *drive.Inbox) {
	for until.Err() == nil {
		if message, err := from.FetchMessage(until); err == nil {
			into.Push(record(message))
		}
	}
}

// Its own Reader hides what a member of a group owns: this is the ConsumerGroup that it is made of.
func makeConsumer(c *call) (any, error) {
	config := kafka.ConsumerGroupConfig{
		ID: c.Group, Brokers: []string{broker}, Topics: c.Topics, SessionTimeout: c.Session(),
		HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond,
		StartOffset: kafka.FirstOffset, WatchPartitionChanges: true, PartitionWatchInterval: time.Second,
	}
	member, err := kafka.NewConsumerGroup(config)
	if err != nil {
		return nil, err
	}
	inbox, topicOf = &drive.Inbox{}, c.Topics[0]
	running, cancel := context.WithCancel(background)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for running.Err() == nil {
			if next, err := member.Next(running); err == nil {
				consume(next, c)
			}
		}
	}()
	leave = func() error {
		cancel()
		err := member.Close()
		<-ended
		return err
	}
	return nil, nil
}

func consume(next *kafka.Generation, c *call) {
	lock.Lock()
	generation = next
	lock.Unlock()
	for _, assigned := range next.Assignments[topicOf] {
		from := reader(&call{Topic: topicOf}, assigned.ID)
		_ = from.SetOffset(assigned.Offset)
		next.Start(func(until context.Context) {
			read(from, until, inbox)
			_ = from.Close()
			lock.Lock()
			defer lock.Unlock()
			if generation == next {
				generation = nil
			}
		})
	}
}

func assign(c *call) (any, error) {
	from := reader(c, int(*c.Partition))
	if err := from.SetOffset(c.At()); err != nil {
		return nil, err
	}
	inbox = &drive.Inbox{}
	running, cancel := context.WithCancel(background)
	go read(from, running, inbox)
	leave = func() error {
		cancel()
		return from.Close()
	}
	return nil, nil
}

func poll(c *call) (any, error) {
	records := inbox.Poll(c.Ms)
	polled = append(polled, records...)
	return records, nil
}

func assignment(*call) (any, error) {
	lock.Lock()
	defer lock.Unlock()
	owned := []int32{}
	if generation != nil {
		for _, assigned := range generation.Assignments[topicOf] {
			owned = append(owned, int32(assigned.ID))
		}
	}
	return drive.Owned(map[string][]int32{topicOf: owned}), nil
}

func commit(*call) (any, error) {
	lock.Lock()
	defer lock.Unlock()
	offsets := map[int]int64{}
	for _, one := range polled {
		offsets[int(one.Partition)] = one.Offset + 1
	}
	polled = nil
	return nil, generation.CommitOffsets(map[string]map[int]int64{topicOf: offsets})
}

func closeConsumer(*call) (any, error) {
	end := leave
	leave, polled = nil, nil
	return nil, end()
}

// ---- asking

// first of the errors that an answer has for its parts
func first(err error, parts map[string]error) error {
	for _, part := range parts {
		err = errors.Join(err, part)
	}
	return err
}

func create(c *call) (any, error) {
	topic := kafka.TopicConfig{Topic: c.Topic, NumPartitions: c.Count(), ReplicationFactor: int(c.Replication())}
	for name, value := range c.Config {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
	}
	done, err := client.CreateTopics(background, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return nil, err
	}
	return nil, first(nil, done.Errors)
}

func remove(c *call) (any, error) {
	done, err := client.DeleteTopics(background, &kafka.DeleteTopicsRequest{Topics: []string{c.Topic}})
	if err != nil {
		return nil, err
	}
	return nil, first(nil, done.Errors)
}

// fresh asks the broker: the client's own transport answers from what it knew some seconds ago.
func fresh() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(broker), Timeout: 10 * time.Second, Transport: &kafka.Transport{}}
}

func topics(*call) (any, error) {
	found, err := fresh().Metadata(background, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, topic := range found.Topics {
		names = append(names, topic.Name)
	}
	return names, nil
}

func metadata(c *call) (any, error) {
	found, err := fresh().Metadata(background, &kafka.MetadataRequest{Topics: []string{c.Topic}})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, one := range found.Brokers {
		names = append(names, net.JoinHostPort(one.Host, strconv.Itoa(one.Port)))
	}
	return map[string]any{"brokers": names, "partitions": len(found.Topics[0].Partitions)}, nil
}

func committed(c *call) (any, error) {
	partitions := []int{}
	for _, partition := range c.List() {
		partitions = append(partitions, int(partition))
	}
	found, err := client.OffsetFetch(background,
		&kafka.OffsetFetchRequest{GroupID: c.Group, Topics: map[string][]int{c.Topic: partitions}})
	if err != nil {
		return nil, err
	}
	offsets := make([]int64, len(partitions))
	for i, partition := range partitions {
		for _, one := range found.Topics[c.Topic] {
			if one.Partition == partition {
				offsets[i] = one.CommittedOffset
			}
		}
	}
	return offsets, found.Error
}

// alterOffsets commits as one who is no member.
func alterOffsets(c *call) (any, error) {
	offset := kafka.OffsetCommit{Partition: int(*c.Partition), Offset: c.At()}
	done, err := client.OffsetCommit(background, &kafka.OffsetCommitRequest{GroupID: c.Group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{c.Topic: {offset}}})
	if err != nil {
		return nil, err
	}
	return nil, done.Topics[c.Topic][0].Error
}

func listed(c *call, requests ...kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	found, err := fresh().ListOffsets(background,
		&kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{c.Topic: requests}})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	return found.Topics[c.Topic][0], found.Topics[c.Topic][0].Error
}

func offsetRange(c *call) (any, error) {
	partition := int(*c.Partition)
	found, err := listed(c, kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition))
	return []int64{found.FirstOffset, found.LastOffset}, err
}

func atTime(c *call) (any, error) {
	found, err := listed(c, kafka.TimeOffsetOf(int(*c.Partition), time.UnixMilli(c.Time)))
	for offset := range found.Offsets {
		return offset, err
	}
	return -1, err
}

func addPartitions(c *call) (any, error) {
	done, err := client.CreatePartitions(background, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: c.Topic, Count: int32(c.Total)}}})
	if err != nil {
		return nil, err
	}
	return nil, first(nil, done.Errors)
}

func getConfig(c *call) (any, error) {
	found, err := client.DescribeConfigs(background, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic,
			ResourceName: c.Topic, ConfigNames: []string{c.Name}}}})
	if err != nil {
		return nil, err
	}
	return found.Resources[0].ConfigEntries[0].ConfigValue, found.Resources[0].Error
}

func setConfig(c *call) (any, error) {
	done, err := client.IncrementalAlterConfigs(background, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic,
			ResourceName: c.Topic, Configs: []kafka.IncrementalAlterConfigsRequestConfig{
				{Name: c.Name, Value: c.Value, ConfigOperation: kafka.ConfigOperationSet}}}}})
	if err != nil {
		return nil, err
	}
	return nil, done.Resources[0].Error
}

func groups(*call) (any, error) {
	found, err := client.ListGroups(background, &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, group := range found.Groups {
		names = append(names, group.GroupID)
	}
	return names, found.Error
}

func describeGroup(c *call) (any, error) {
	found, err := client.DescribeGroups(background, &kafka.DescribeGroupsRequest{GroupIDs: []string{c.Group}})
	if err != nil {
		return nil, err
	}
	group := found.Groups[0]
	return map[string]any{"state": group.GroupState, "members": len(group.Members)}, group.Error
}

func deleteGroup(c *call) (any, error) {
	done, err := client.DeleteGroups(background, &kafka.DeleteGroupsRequest{GroupIDs: []string{c.Group}})
	if err != nil {
		return nil, err
	}
	return nil, first(nil, done.Errors)
}

func code(err error) (int, string) {
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		for _, one := range several {
			if one != nil {
				return code(one)
			}
		}
	}
	var known kafka.Error
	var large kafka.MessageTooLargeError
	switch {
	case errors.As(err, &large):
		return int(kafka.MessageSizeTooLarge), "MessageTooLargeError"
	case errors.As(err, &known):
		return int(known), known.Title()
	}
	return -1, strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
}

func main() {
	drive.Serve(map[string]func(*call) (any, error){
		"create": create, "delete": remove, "topics": topics, "metadata": metadata, "producer": makeProducer,
		"send": send, "consumer": makeConsumer, "assign": assign, "poll": poll, "assignment": assignment,
		"commit": commit, "close": closeConsumer, "committed": committed, "range": offsetRange, "at_time": atTime,
		"add_partitions": addPartitions, "get_config": getConfig, "set_config": setConfig, "groups": groups,
		"describe_group": describeGroup, "delete_group": deleteGroup, "alter_offsets": alterOffsets,
	}, code)
	if leave != nil {
		_ = leave()
	}
}
