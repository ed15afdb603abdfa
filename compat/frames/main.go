// What franz-go makes of the batches of frames.py, read from standard input: a line each of name, tab, batch.
// Prints the name and how many records come out.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func judge(batch []byte) string {
	partition := kmsg.NewFetchResponseTopicPartition()
	partition.RecordBatches = batch
	partition.HighWatermark = 1 << 40
	partition.LastStableOffset = 1 << 40
	options := kgo.ProcessFetchPartitionOpts{Topic: "t", Partition: 0, Offset: 0}
	found, _ := kgo.ProcessFetchPartition(options, &partition, kgo.DefaultDecompressor(), nil)
	if found.Err != nil {
		fmt.Fprintln(os.Stderr, found.Err)
		return "fails"
	}
	return fmt.Sprint(len(found.Records))
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		name, data, _ := strings.Cut(lines.Text(), "\t")
		batch, err := hex.DecodeString(data)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\t%s\n", name, judge(batch))
	}
}
