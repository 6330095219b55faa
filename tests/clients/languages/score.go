// Go's net/http: a record as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	answer, err := http.Post(os.Args[1]+"/score", "application/json", strings.NewReader(os.Args[2]))
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	var document struct{ Results []struct{ Score json.Number } }
	if err := json.NewDecoder(answer.Body).Decode(&document); err != nil {
		panic(err)
	}
	fmt.Println(document.Results[0].Score)
}
