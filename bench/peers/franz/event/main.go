// The transformer on franz-go.
//
//	peer CODEC BROKERS SOURCE DESTINATION GROUP COUNT
package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"os"

	"topicmill/bench/peers/franz/loop"
)

type event struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Hash      string `json:"hash"`
}

func main() {
	loop.Run(os.Args[1:], func(value []byte) ([]byte, string, bool) { return hash(value), "", true })
}

func hash(value []byte) []byte {
	var e event
	loop.Check(json.Unmarshal(value, &e))
	sum := md5.Sum(value)
	e.Hash = hex.EncodeToString(sum[:])
	output, err := json.Marshal(e)
	loop.Check(err)
	return output
}
