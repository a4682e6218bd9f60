// The three programs of the Go experiment, rendered for the benchmark: each reads name events,
// sets hash to the MD5 of the raw value and produces the event with acks=all.
//
//	peer MODE BROKERS SOURCE DESTINATION GROUP COUNT
//
// MODE is serial, pipeline or worker; it ends after COUNT events and prints the seconds from the
// first message to the last acknowledgement.
package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

type event struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Hash      string `json:"hash"`
}

type peer struct {
	consumer    *kafka.Consumer
	producer    *kafka.Producer
	destination string
	count       int
	started     time.Time
}

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: peer serial|pipeline|worker BROKERS SOURCE DESTINATION GROUP COUNT")
	}
	mode, brokers, source, group := os.Args[1], os.Args[2], os.Args[3], os.Args[5]
	count, err := strconv.Atoi(os.Args[6])
	check(err)
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": brokers,
		"group.id":          group,
		"auto.offset.reset": "earliest",
	})
	check(err)
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers":            brokers,
		"acks":                         "all",
		"queue.buffering.max.messages": 1000000,
	})
	check(err)
	check(consumer.Subscribe(source, nil))
	p := &peer{consumer: consumer, producer: producer, destination: os.Args[4], count: count}
	acknowledged := p.countAcknowledgements()
	switch mode {
	case "serial":
		p.serial()
	case "pipeline":
		p.concurrent(1)
	case "worker":
		p.concurrent(4)
	default:
		log.Fatalf("unknown mode %s", mode)
	}
	<-acknowledged
	fmt.Printf("%.3f\n", time.Since(p.started).Seconds())
	producer.Close()
	check(consumer.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// countAcknowledgements closes the channel it returns when every event is acknowledged.
func (p *peer) countAcknowledgements() chan struct{} {
	done := make(chan struct{})
	go func() {
		left := p.count
		for e := range p.producer.Events() {
			if message, ok := e.(*kafka.Message); ok {
				check(message.TopicPartition.Error)
				if left--; left == 0 {
					close(done)
				}
			}
		}
	}()
	return done
}

func (p *peer) serial() {
	for i := 0; i < p.count; i++ {
		p.produce(hash(p.read()))
	}
}

// concurrent joins consumer, hashers and producer by channels.
func (p *peer) concurrent(hashers int) {
	read := make(chan *kafka.Message, 100000)
	hashed := make(chan []byte, 100000)
	go func() {
		for i := 0; i < p.count; i++ {
			read <- p.read()
		}
		close(read)
	}()
	var working sync.WaitGroup
	for i := 0; i < hashers; i++ {
		working.Add(1)
		go func() {
			defer working.Done()
			for message := range read {
				hashed <- hash(message)
			}
		}()
	}
	go func() {
		working.Wait()
		close(hashed)
	}()
	for value := range hashed {
		p.produce(value)
	}
}

func (p *peer) read() *kafka.Message {
	for {
		message, err := p.consumer.ReadMessage(time.Second)
		if err == nil {
			if p.started.IsZero() {
				p.started = time.Now()
			}
			return message
		}
		if kafkaError, ok := err.(kafka.Error); !ok || !kafkaError.IsTimeout() {
			log.Print(err)
		}
	}
}

func hash(message *kafka.Message) []byte {
	var e event
	check(json.Unmarshal(message.Value, &e))
	sum := md5.Sum(message.Value)
	e.Hash = hex.EncodeToString(sum[:])
	value, err := json.Marshal(e)
	check(err)
	return value
}

func (p *peer) produce(value []byte) {
	message := &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &p.destination, Partition: kafka.PartitionAny},
		Value:          value,
	}
	for {
		err := p.producer.Produce(message, nil)
		if err == nil {
			return
		}
		if kafkaError, ok := err.(kafka.Error); !ok || kafkaError.Code() != kafka.ErrQueueFull {
			log.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}
