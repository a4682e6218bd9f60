// The transformer on franz-go, tuned by hand: whole polls, one asynchronous record each, commits
// once a second and at the end, large fetches and batches.
//
//	peer CODEC BROKERS SOURCE DESTINATION GROUP COUNT
//
// CODEC is none, lz4 or zstd; it ends after COUNT events and prints the seconds from the first
// message to the last acknowledgement.
package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type event struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Hash      string `json:"hash"`
}

const commitInterval = time.Second

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: peer none|lz4|zstd BROKERS SOURCE DESTINATION GROUP COUNT")
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, known := codecs[os.Args[1]]
	if !known {
		log.Fatalf("unknown codec %s", os.Args[1])
	}
	count, err := strconv.Atoi(os.Args[6])
	check(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Args[2], ",")...),
		kgo.ConsumeTopics(os.Args[3]),
		kgo.DefaultProduceTopic(os.Args[4]),
		kgo.ConsumerGroup(os.Args[5]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(8<<20),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(500_000),
	)
	check(err)
	started := transform(client, count)
	fmt.Printf("%.3f\n", time.Since(started).Seconds())
	client.Close()
}

// transform returns when count events are acknowledged and committed; it returns the time at
// which the first arrived.
func transform(client *kgo.Client, count int) (started time.Time) {
	ctx := context.Background()
	acknowledged := func(_ *kgo.Record, err error) { check(err) }
	read, committed := 0, time.Now()
	for read < count {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		if started.IsZero() && !fetches.Empty() {
			started = time.Now()
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if read++; read <= count {
				output := &kgo.Record{Key: record.Key, Value: hash(record.Value), Timestamp: record.Timestamp}
				client.Produce(ctx, output, acknowledged)
			}
		})
		if time.Since(committed) >= commitInterval {
			check(client.Flush(ctx))
			check(client.CommitUncommittedOffsets(ctx))
			committed = time.Now()
		}
	}
	check(client.Flush(ctx))
	check(client.CommitUncommittedOffsets(ctx))
	return started
}

func hash(value []byte) []byte {
	var e event
	check(json.Unmarshal(value, &e))
	sum := md5.Sum(value)
	e.Hash = hex.EncodeToString(sum[:])
	output, err := json.Marshal(e)
	check(err)
	return output
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
