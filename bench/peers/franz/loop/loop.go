// Package loop is the road of the peers on franz-go, tuned by hand: whole polls, one asynchronous record
// each, commits once a second and at the end, large fetches and batches.
package loop

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Usage are the arguments of Run.
const Usage = "none|lz4|zstd BROKERS SOURCE DESTINATION GROUP COUNT"

const commitInterval = time.Second

// A Step returns the new value and topic (empty for the destination), or false to pass the record over.
type Step func(value []byte) ([]byte, string, bool)

// Run ends after COUNT events and prints the seconds from the first message to the last acknowledgement.
func Run(arguments []string, step Step) {
	if len(arguments) != 6 {
		log.Fatal("the arguments are " + Usage)
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, known := codecs[arguments[0]]
	if !known {
		log.Fatalf("unknown codec %s", arguments[0])
	}
	count, err := strconv.Atoi(arguments[5])
	Check(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(arguments[1], ",")...),
		kgo.ConsumeTopics(arguments[2]),
		kgo.DefaultProduceTopic(arguments[3]),
		kgo.ConsumerGroup(arguments[4]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.AllowAutoTopicCreation(),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(8<<20),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(500_000),
	)
	Check(err)
	started := transform(client, step, count)
	fmt.Printf("%.3f\n", time.Since(started).Seconds())
	client.Close()
}

// transform returns when count events are acknowledged and committed; it returns the time at
// which the first arrived.
func transform(client *kgo.Client, step Step, count int) (started time.Time) {
	ctx := context.Background()
	acknowledged := func(_ *kgo.Record, err error) { Check(err) }
	read, committed := 0, time.Now()
	for read < count {
		fetches := client.PollFetches(ctx)
		Check(fetches.Err())
		if started.IsZero() && !fetches.Empty() {
			started = time.Now()
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if read++; read > count {
				return
			}
			if value, topic, keep := step(record.Value); keep {
				output := &kgo.Record{Topic: topic, Key: record.Key, Value: value, Timestamp: record.Timestamp}
				client.Produce(ctx, output, acknowledged)
			}
		})
		if time.Since(committed) >= commitInterval {
			Check(client.Flush(ctx))
			Check(client.CommitUncommittedOffsets(ctx))
			committed = time.Now()
		}
	}
	Check(client.Flush(ctx))
	Check(client.CommitUncommittedOffsets(ctx))
	return started
}

// Check ends the program with err, if there is one.
func Check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
