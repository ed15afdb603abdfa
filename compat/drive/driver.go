// Package drive is what the drivers of the Go clients share: calls come in, answers go out. See protocol.md.
package drive

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"time"
)

// Call has every argument that any call has; those that were not given are nil, or nothing.
type Call struct {
	Do              string
	Topic           string
	Topics          []string
	Partition       *int32
	Partitions      json.RawMessage
	Replicas        *int16
	Config          map[string]*string
	Acks            string
	Codec           string
	Idempotent      bool
	TransactionalID string `json:"transactional_id"`
	RefreshMs       int    `json:"refresh_ms"`
	Records         []Record
	Group           string
	Protocol        string
	Assignor        string
	Instance        string
	SessionMs       int `json:"session_ms"`
	Offset          json.RawMessage
	Isolation       string
	MinBytes        int `json:"min_bytes"`
	WaitMs          int `json:"wait_ms"`
	Ms              int
	Time            int64
	Total           int
	Name            string
	Value           string
	Before          int64
}

// Record is one as `send` is given it and as `poll` answers it.
type Record struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
	Time      int64        `json:"time"`
}

// Count is the number of partitions that `create` asks for.
func (c *Call) Count() int {
	var count int
	must(json.Unmarshal(c.Partitions, &count))
	return count
}

// List is the partitions that `committed` asks for.
func (c *Call) List() []int32 {
	var list []int32
	must(json.Unmarshal(c.Partitions, &list))
	return list
}

// At is where `assign` is to start, or where an offset is to be set to: the first offset is -2, the end -1.
func (c *Call) At() int64 {
	var number int64
	if json.Unmarshal(c.Offset, &number) == nil {
		return number
	}
	return map[string]int64{`"earliest"`: -2, `"latest"`: -1}[string(c.Offset)]
}

// Session is how long a member's session lasts.
func (c *Call) Session() time.Duration {
	if c.SessionMs == 0 {
		return 6 * time.Second
	}
	return time.Duration(c.SessionMs) * time.Millisecond
}

// Replication is how many replicas a new topic is to have.
func (c *Call) Replication() int16 {
	if c.Replicas == nil {
		return 1
	}
	return *c.Replicas
}

// Bytes of a text, or nil.
func Bytes(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}

// Text of bytes, or nil.
func Text(octets []byte) *string {
	if octets == nil {
		return nil
	}
	text := string(octets)
	return &text
}

// Header is one as `poll` answers it.
func Header(name string, value []byte) [2]*string { return [2]*string{&name, Text(value)} }

// Owned names partitions as `assignment` answers them.
func Owned(partitions map[string][]int32) []string {
	names := []string{}
	for topic, list := range partitions {
		for _, partition := range list {
			names = append(names, fmt.Sprintf("%s-%d", topic, partition))
		}
	}
	sort.Strings(names)
	return names
}

// Inbox has the records that the client pushes, until they are polled.
type Inbox struct {
	lock    sync.Mutex
	arrived []Record
}

// Push puts one in.
func (i *Inbox) Push(record Record) {
	i.lock.Lock()
	defer i.lock.Unlock()
	i.arrived = append(i.arrived, record)
}

// Poll waits until there are some, and a little more for what comes with them.
func (i *Inbox) Poll(ms int) []Record {
	deadline := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for i.empty() && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if !i.empty() {
		time.Sleep(50 * time.Millisecond)
	}
	i.lock.Lock()
	defer i.lock.Unlock()
	polled := append([]Record{}, i.arrived...)
	i.arrived = nil
	return polled
}

func (i *Inbox) empty() bool {
	i.lock.Lock()
	defer i.lock.Unlock()
	return len(i.arrived) == 0
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Serve answers the calls on the input, each with the function of its name; code gives the Kafka code, and the
// client's name, of an error.
func Serve(calls map[string]func(*Call) (any, error), code func(error) (int, string)) {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		must(err)
		call := &Call{}
		must(json.Unmarshal(line, call))
		ok, err := calls[call.Do](call)
		if err == nil {
			must(output.Encode(map[string]any{"ok": ok}))
			continue
		}
		number, name := code(err)
		fmt.Fprintf(os.Stderr, "%s: %v\n", call.Do, err)
		must(output.Encode(map[string]any{"error": map[string]any{"code": number, "type": name, "text": err.Error()}}))
	}
}
