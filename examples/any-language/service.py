# A service without any notion of idempotency: every POST is one more charge. It serves both:
#   ackonce proxy --listen 127.0.0.1:8080 --upstream http://127.0.0.1:9000 --store sqlite:dedup.db --principal header:x-account
#   ackonce relay --from 'kafka://localhost:9092/orders?group=billing' --to http://127.0.0.1:9000/charge --store sqlite:dedup.db
import http.server, json, os

charges = []

class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        charges.append(json.loads(body or "{}"))
        answer = json.dumps({"charge": len(charges), "key": self.headers.get("Idempotency-Key")}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 9000))), Service).serve_forever()
