// Steps by hand on franz-go, with gjson and sjson.
//
//	peer filter|edits CODEC BROKERS SOURCE DESTINATION GROUP COUNT
//
// filter keeps the orders whose status is open. edits drops a field, masks one, replaces one by its
// HMAC-SHA-256, renames one, and routes by country.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"topicmill/bench/peers/franz/loop"
)

var steps = map[string]loop.Step{"filter": filter, "edits": edits}

func main() {
	if len(os.Args) < 2 || steps[os.Args[1]] == nil {
		log.Fatal("usage: peer filter|edits " + loop.Usage)
	}
	loop.Run(os.Args[2:], steps[os.Args[1]])
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
	loop.Check(err)
	value, err = sjson.SetBytes(value, "customer.phone", masked(found[1].String(), 3))
	loop.Check(err)
	value, err = sjson.SetRawBytes(value, "customer.full_name", []byte(found[2].Raw))
	loop.Check(err)
	value, err = sjson.DeleteBytes(value, "customer.name")
	loop.Check(err)
	value, err = sjson.DeleteBytes(value, "note")
	loop.Check(err)
	return value, "orders_" + strings.ToLower(found[3].String()), true
}

// masked leaves the last characters of a text.
func masked(text string, last int) string {
	runes := []rune(text)
	hidden := max(utf8.RuneCountInString(text)-last, 0)
	return strings.Repeat("*", hidden) + string(runes[hidden:])
}
