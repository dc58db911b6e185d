// The same in Go: every POST is one more charge, and the proxy or the relay in front takes each key once.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

func main() {
	var charges atomic.Int64
	http.HandleFunc("/charge", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"charge":%d,"key":%q}`, charges.Add(1), r.Header.Get("Idempotency-Key"))
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	panic(http.ListenAndServe("127.0.0.1:"+port, nil))
}
