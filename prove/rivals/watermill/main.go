// Watermill's router with its Deduplicator: `watermill plain|retry`. With "retry" the handler runs again behind the
// Deduplicator before an error leaves it.
package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Takes the ID of AMQP's property; the marshaler of the library reads it from a header of its own, and refuses headers
// that are no text, such as the delivery count of a quorum queue.
type marshaler struct{ amqp.DefaultMarshaler }

func (marshaler) Unmarshal(delivery amqp091.Delivery) (*message.Message, error) {
	msg := message.NewMessage(delivery.MessageId, delivery.Body)
	msg.Metadata.Set("id", delivery.MessageId)
	msg.Metadata.Set("redelivered", strconv.FormatBool(delivery.Redelivered))
	return msg, nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// The broker may be in the middle of an outage.
func subscriber() *amqp.Subscriber {
	config := amqp.NewDurableQueueConfig(os.Getenv("PROVE_SOURCE"))
	config.Marshaler = marshaler{}
	config.Queue.Arguments = amqp091.Table{"x-queue-type": "quorum"}
	for {
		found, err := amqp.NewSubscriber(config, watermill.NewSlogLogger(slog.Default()))
		if err == nil {
			return found
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func main() {
	router := must(message.NewRouter(message.RouterConfig{}, watermill.NewSlogLogger(slog.Default())))
	deduplicator := &middleware.Deduplicator{
		KeyFactory: middleware.NewMessageHasherFromMetadataField("id"),
		Repository: must(middleware.NewMapExpiringKeyRepository(time.Hour)),
		Timeout:    time.Second,
	}
	router.AddMiddleware(deduplicator.Middleware)
	if os.Args[1] == "retry" {
		router.AddMiddleware(middleware.Retry{MaxRetries: 5, InitialInterval: 50 * time.Millisecond}.Middleware)
	}
	router.AddMiddleware(middleware.Recoverer)
	var failed sync.Map
	router.AddConsumerHandler("effect", os.Getenv("PROVE_QUEUE"), subscriber(), func(msg *message.Message) error {
		_, again := failed.LoadOrStore(msg.UUID, true)
		return handle(msg.UUID, again || msg.Metadata.Get("redelivered") == "true")
	})
	must(0, router.Run(context.Background()))
}
