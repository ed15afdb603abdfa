// The driver of franz-go: it does what compat/drive/protocol.md says.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"braid/drive"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type call = drive.Call

var (
	background = context.Background()
	broker     = kgo.SeedBrokers(os.Args[1])
	admin      *kadm.Client
	producer   *kgo.Client
	member     *kgo.Client
	lock       sync.Mutex
	owned      map[string][]int32
)

// ---- producing

func makeProducer(c *call) (any, error) {
	if producer != nil {
		producer.Close()
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	options := []kgo.Opt{
		broker, kgo.ProducerBatchCompression(codecs[c.Codec]), kgo.RecordPartitioner(byKeyOrAsTold()),
		kgo.UnknownTopicRetries(3),
	}
	if c.Codec == "5" {
		options = append(options, kgo.WithCompressor(unknown{}))
	}
	if c.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(c.TransactionalID))
	}
	if c.Acks == "0" || c.Acks == "1" {
		acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck()}[c.Acks]
		options = append(options, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
	}
	if c.RefreshMs != 0 {
		age := time.Duration(c.RefreshMs) * time.Millisecond
		options = append(options, kgo.MetadataMaxAge(age), kgo.MetadataMinAge(age))
	}
	var err error
	if producer, err = kgo.NewClient(options...); err != nil {
		return nil, err
	}
	if c.TransactionalID != "" {
		_, _, err = producer.ProducerID(background) // asks for it
	}
	return nil, err
}

// unknown is a codec with a number that Kafka does not have; what it made is sent only if it is shorter.
type unknown struct{}

func (unknown) Compress(_ *bytes.Buffer, plain []byte, _ ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	return plain[:1], 5
}

// A record that is for no partition in particular has -1.
func byKeyOrAsTold() kgo.Partitioner {
	byKey := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		keys := byKey.ForTopic(topic)
		return func(r *kgo.Record, n int) int {
			if r.Partition >= 0 {
				return int(r.Partition)
			}
			return keys.Partition(r, n)
		}
	})
}

func send(c *call) (any, error) {
	sent := make([]*kgo.Record, len(c.Records))
	for i, r := range c.Records {
		record := &kgo.Record{Topic: c.Topic, Partition: -1, Key: drive.Bytes(r.Key), Value: drive.Bytes(r.Value)}
		for _, header := range r.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: *header[0], Value: drive.Bytes(header[1])})
		}
		if r.Time != 0 {
			record.Timestamp = time.UnixMilli(r.Time)
		}
		if c.Partition != nil {
			record.Partition = *c.Partition
		}
		sent[i] = record
	}
	if err := producer.ProduceSync(background, sent...).FirstErr(); err != nil {
		if errors.Is(err, kerr.UnknownTopicID) {
			producer.PurgeTopicsFromProducing(c.Topic) // a topic made anew is another one until it is told so
		}
		return nil, err
	}
	offsets := make([]int64, len(sent))
	for i, record := range sent {
		offsets[i] = record.Offset
	}
	return offsets, nil
}

func end(how kgo.TransactionEndTry) func(*call) (any, error) {
	return func(*call) (any, error) {
		if err := producer.Flush(background); err != nil {
			return nil, err
		}
		return nil, producer.EndTransaction(background, how)
	}
}

// ---- consuming

func makeConsumer(c *call) (any, error) {
	owned = map[string][]int32{}
	options := []kgo.Opt{
		broker, kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topics...), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.SessionTimeout(c.Session()), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(func(topic string, partitions []int32) {
			owned[topic] = append(owned[topic], partitions...)
		})),
		kgo.OnPartitionsRevoked(change(take)), kgo.OnPartitionsLost(change(take)),
		kgo.Balancers(kgo.RangeBalancer()),
	}
	if c.Assignor == "cooperative" {
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	if c.Instance != "" {
		options = append(options, kgo.InstanceID(c.Instance))
	}
	if c.RefreshMs != 0 {
		age := time.Duration(c.RefreshMs) * time.Millisecond
		options = append(options, kgo.MetadataMaxAge(age), kgo.MetadataMinAge(age))
	}
	if c.Protocol == "consumer" { // its name for what it still calls a beta
		options = append(options, kgo.WithContext(context.WithValue(background, "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	var err error
	member, err = kgo.NewClient(options...)
	return nil, err
}

func change(how func(string, []int32)) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		lock.Lock()
		defer lock.Unlock()
		for topic, list := range partitions {
			how(topic, list)
		}
	}
}

func take(topic string, partitions []int32) {
	left := []int32{}
	for _, one := range owned[topic] {
		gone := false
		for _, partition := range partitions {
			gone = gone || one == partition
		}
		if !gone {
			left = append(left, one)
		}
	}
	owned[topic] = left
}

func assign(c *call) (any, error) {
	at := kgo.NewOffset().At(c.At())
	options := []kgo.Opt{
		broker, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: {*c.Partition: at}}),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if c.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if c.MinBytes != 0 {
		options = append(options, kgo.FetchMinBytes(int32(c.MinBytes)),
			kgo.FetchMaxWait(time.Duration(c.WaitMs)*time.Millisecond))
	}
	var err error
	member, err = kgo.NewClient(options...)
	return nil, err
}

func poll(c *call) (any, error) {
	limited, cancel := context.WithTimeout(background, time.Duration(c.Ms)*time.Millisecond)
	defer cancel()
	fetches := member.PollFetches(limited)
	for _, failed := range fetches.Errors() {
		var session *kgo.ErrGroupSession // it says so, and goes on by itself
		if !errors.Is(failed.Err, context.DeadlineExceeded) && !errors.As(failed.Err, &session) {
			return nil, failed.Err
		}
	}
	polled := []drive.Record{}
	fetches.EachRecord(func(r *kgo.Record) {
		record := drive.Record{Partition: r.Partition, Offset: r.Offset, Key: drive.Text(r.Key),
			Value: drive.Text(r.Value), Time: r.Timestamp.UnixMilli(), Headers: [][2]*string{}}
		for _, header := range r.Headers {
			record.Headers = append(record.Headers, drive.Header(header.Key, header.Value))
		}
		polled = append(polled, record)
	})
	return polled, nil
}

func closeMember(*call) (any, error) {
	err := member.LeaveGroupContext(background)
	member.Close()
	member = nil
	return nil, err
}

// ---- asking

func partitionOffsets(c *call, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	offsets, err := list(background, c.Topic)
	if err != nil {
		return 0, err
	}
	found, _ := offsets.Lookup(c.Topic, *c.Partition)
	return found.Offset, found.Err
}

func offsetRange(c *call) (any, error) {
	first, err := partitionOffsets(c, admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	next, err := partitionOffsets(c, admin.ListEndOffsets)
	return []int64{first, next}, err
}

// It answers the end of the partition where there is no such record.
func atTime(c *call) (any, error) {
	found, err := partitionOffsets(c, func(_ context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return admin.ListOffsetsAfterMilli(background, c.Time, topics...)
	})
	if err != nil {
		return nil, err
	}
	if next, err := partitionOffsets(c, admin.ListEndOffsets); err != nil || found == next {
		return -1, err
	}
	return found, nil
}

func committed(c *call) (any, error) {
	found, err := admin.FetchOffsets(background, c.Group)
	offsets := []int64{}
	for _, partition := range c.List() {
		if offset, ok := found.Lookup(c.Topic, partition); ok {
			offsets = append(offsets, offset.At)
		} else {
			offsets = append(offsets, -1)
		}
	}
	return offsets, err
}

func metadata(c *call) (any, error) {
	found, err := admin.Metadata(background, c.Topic)
	if err != nil {
		return nil, err
	}
	brokers := []string{}
	for _, one := range found.Brokers {
		brokers = append(brokers, fmt.Sprintf("%s:%d", one.Host, one.Port))
	}
	return map[string]any{"brokers": brokers, "partitions": len(found.Topics[c.Topic].Partitions)}, nil
}

func getConfig(c *call) (any, error) {
	found, err := admin.DescribeTopicConfigs(background, c.Topic)
	if err != nil {
		return nil, err
	}
	for _, config := range found[0].Configs {
		if config.Key == c.Name {
			return config.Value, nil
		}
	}
	return nil, found[0].Err
}

func setConfig(c *call) (any, error) {
	done, err := admin.AlterTopicConfigs(background, []kadm.AlterConfig{{Name: c.Name, Value: &c.Value}}, c.Topic)
	if err != nil {
		return nil, err
	}
	return nil, done[0].Err
}

func describeGroup(c *call) (any, error) {
	found, err := admin.DescribeGroups(background, c.Group)
	if err != nil {
		return nil, err
	}
	group := found[c.Group]
	return map[string]any{"state": group.State, "members": len(group.Members)}, group.Err
}

func alterOffsets(c *call) (any, error) {
	offsets := kadm.Offsets{}
	offsets.AddOffset(c.Topic, *c.Partition, c.At(), -1)
	done, err := admin.CommitOffsets(background, c.Group, offsets)
	if err != nil {
		return nil, err
	}
	return nil, done.Error()
}

func code(err error) (int, string) {
	var known *kerr.Error
	if errors.As(err, &known) {
		return int(known.Code), known.Message
	}
	return -1, strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
}

func main() {
	client, err := kgo.NewClient(broker)
	if err != nil {
		panic(err)
	}
	admin = kadm.NewClient(client)
	drive.Serve(map[string]func(*call) (any, error){
		"create": func(c *call) (any, error) {
			_, err := admin.CreateTopic(background, int32(c.Count()), c.Replication(), c.Config, c.Topic)
			return nil, err
		},
		"delete": func(c *call) (any, error) {
			_, err := admin.DeleteTopic(background, c.Topic)
			return nil, err
		},
		"topics": func(c *call) (any, error) {
			found, err := admin.ListTopics(background)
			return found.Names(), err
		},
		"metadata": metadata,
		"producer": makeProducer,
		"send":     send,
		"begin":    func(*call) (any, error) { return nil, producer.BeginTransaction() },

		"commit_transaction": end(kgo.TryCommit),
		"abort_transaction":  end(kgo.TryAbort),

		"consumer": makeConsumer,
		"assign":   assign,
		"poll":     poll,
		"assignment": func(*call) (any, error) {
			lock.Lock()
			defer lock.Unlock()
			return drive.Owned(owned), nil
		},
		"commit":    func(*call) (any, error) { return nil, member.CommitUncommittedOffsets(background) },
		"close":     closeMember,
		"committed": committed,
		"range":     offsetRange,
		"at_time":   atTime,
		"add_partitions": func(c *call) (any, error) {
			done, err := admin.UpdatePartitions(background, c.Total, c.Topic)
			if err != nil {
				return nil, err
			}
			return nil, done.Error()
		},
		"get_config": getConfig,
		"set_config": setConfig,
		"groups": func(*call) (any, error) {
			found, err := admin.ListGroups(background)
			return found.Groups(), err
		},
		"describe_group": describeGroup,
		"delete_group": func(c *call) (any, error) {
			_, err := admin.DeleteGroup(background, c.Group)
			return nil, err
		},
		"alter_offsets": alterOffsets,
		"delete_records": func(c *call) (any, error) {
			offsets := kadm.Offsets{}
			offsets.AddOffset(c.Topic, *c.Partition, c.Before, -1)
			_, err := admin.DeleteRecords(background, offsets)
			return nil, err
		},
	}, code)
	if member != nil {
		_ = member.LeaveGroupContext(background)
	}
}
