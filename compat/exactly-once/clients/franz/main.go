// The client of transform.py with franz-go, in its idiom: a GroupTransactSession, which sends the offsets and
// ends the transaction in one go, and goes back to the committed offsets after an abort. It ends at the first
// error, as a crash would.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 4

var answers = bufio.NewReader(os.Stdin)

func step(format string, args ...any) string {
	fmt.Printf(format+"\n", args...)
	line, err := answers.ReadString('\n')
	check(err)
	return strings.TrimSpace(line)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func reversed(text []byte) string {
	turned := make([]byte, len(text))
	for i, b := range text {
		turned[len(text)-1-i] = b
	}
	return string(turned)
}

func transform(ctx context.Context, session *kgo.GroupTransactSession, records []*kgo.Record, output string) {
	fate := step("begin %d", len(records))
	check(session.Begin())
	sent := make([]*kgo.Record, 0, len(records))
	for _, record := range records {
		sent = append(sent, &kgo.Record{
			Topic:     output,
			Partition: int32((int64(record.Partition) + record.Offset) % partitions),
			Key:       fmt.Appendf(nil, "%d:%d", record.Partition, record.Offset),
			Value:     []byte(fate + " " + reversed(record.Value)),
		})
	}
	check(session.ProduceSync(ctx, sent...).FirstErr())
	step("ready")
	committed, err := session.End(ctx, kgo.TransactionEndTry(strings.HasPrefix(fate, "commit")))
	check(err)
	if committed {
		step("committed")
	} else {
		step("aborted")
	}
}

func main() {
	broker, topic := os.Args[1], os.Args[2]
	ctx := context.Background()
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(broker),
		kgo.TransactionalID(topic),
		kgo.ConsumerGroup(topic),
		kgo.InstanceID(topic),
		kgo.SessionTimeout(20*time.Second),
		kgo.ConsumeTopics(topic+"-in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	check(err)
	_, _, err = session.Client().ProducerID(ctx) // takes over the transactional id
	check(err)
	for {
		fetches := session.PollRecords(ctx, 50)
		check(fetches.Err())
		if records := fetches.Records(); len(records) > 0 {
			transform(ctx, session, records, topic+"-out")
		}
	}
}
