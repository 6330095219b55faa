import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

/** Posts a file and prints the status and the number of lines of the answer: java Post.java URL TYPE FILE. */
public class Post {
    public static void main(String[] arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", arguments[1])
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[2])))
                .build();
        HttpResponse<InputStream> answer =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofInputStream());
        long lines = 0;
        byte[] part = new byte[1 << 16];
        try (InputStream body = answer.body()) {
            for (int read = body.read(part); read >= 0; read = body.read(part)) {
                for (int at = 0; at < read; at++) {
                    if (part[at] == '\n') {
                        lines++;
                    }
                }
            }
        }
        System.out.println(answer.statusCode() + " " + lines);
    }
}
