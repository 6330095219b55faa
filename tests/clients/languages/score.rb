# Ruby's Net::HTTP: a record as JSON.
require "json"
require "net/http"

address, record = ARGV
answer = Net::HTTP.post(URI("#{address}/score"), record, "Content-Type" => "application/json")
puts JSON.parse(answer.body)["results"][0]["score"]
