<?php
// PHP's streams: a record as JSON, over HTTP/1.1.
$options = ["method" => "POST", "header" => "Content-Type: application/json", "content" => $argv[2], "protocol_version" => 1.1];
$answer = file_get_contents("$argv[1]/score", false, stream_context_create(["http" => $options]));
ini_set("serialize_precision", -1);
echo json_encode(json_decode($answer, true)["results"][0]["score"]), "\n";
