// Steps by hand on franz-go, with gjson and sjson: whole polls, one asynchronous record each, commits once
// a second and at the end, large fetches and batches.
//
//	peer filter|edits CODEC BROKERS SOURCE DESTINATION GROUP COUNT
//
// filter keeps the orders whose status is open. edits drops a field, masks one, replaces one by its
// HMAC-SHA-256, renames one, and routes by country. It ends after COUNT events and prints the seconds from
// the first message to the last acknowledgement.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"github.com/twmb/franz-go/pkg/kgo"
)

const commitInterval = time.Second

// A step returns the new value and topic (empty for the destination), or false to pass the record over.
type step func(value []byte) ([]byte, string, bool)

var steps = map[string]step{"filter": filter, "edits": edits}

func main() {
	if len(os.Args) != 8 {
		log.Fatal("usage: peer filter|edits none|lz4|zstd BROKERS SOURCE DESTINATION GROUP COUNT")
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	work, known := steps[os.Args[1]]
	codec, alsoKnown := codecs[os.Args[2]]
	if !known || !alsoKnown {
		log.Fatalf("unknown steps or codec: %v", os.Args[1:3])
	}
	count, err := strconv.Atoi(os.Args[7])
	check(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Args[3], ",")...),
		kgo.ConsumeTopics(os.Args[4]),
		kgo.DefaultProduceTopic(os.Args[5]),
		kgo.ConsumerGroup(os.Args[6]),
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
	check(err)
	started := transform(client, work, count)
	fmt.Printf("%.3f\n", time.Since(started).Seconds())
	client.Close()
}

// transform returns when count events are acknowledged and committed; it returns the time at
// which the first arrived.
func transform(client *kgo.Client, work step, count int) (started time.Time) {
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
			if read++; read > count {
				return
			}
			if value, topic, keep := work(record.Value); keep {
				output := &kgo.Record{Topic: topic, Key: record.Key, Value: value, Timestamp: record.Timestamp}
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

func filter(value []byte) ([]byte, string, bool) {
	return value, "", gjson.GetBytes(value, "status").String() == "open"
}

var key = []byte("secret")

func edits(value []byte) ([]byte, string, bool) {
	found := gjson.GetManyBytes(value, "customer.email", "customer.phone", "customer.name", "country")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(found[0].String()))
	value, err := sjson.SetBytes(value, "customer.email", "k1:"+hex.EncodeToString(mac.Sum(nil)))
	check(err)
	value, err = sjson.SetBytes(value, "customer.phone", masked(found[1].String(), 3))
	check(err)
	value, err = sjson.SetRawBytes(value, "customer.full_name", []byte(found[2].Raw))
	check(err)
	value, err = sjson.DeleteBytes(value, "customer.name")
	check(err)
	value, err = sjson.DeleteBytes(value, "note")
	check(err)
	return value, "orders_" + strings.ToLower(found[3].String()), true
}

// masked leaves the last characters of a text.
func masked(text string, last int) string {
	runes := []rune(text)
	hidden := max(utf8.RuneCountInString(text)-last, 0)
	return strings.Repeat("*", hidden) + string(runes[hidden:])
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
