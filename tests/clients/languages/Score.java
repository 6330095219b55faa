import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.regex.Pattern;

/** Java's HttpClient, which asks for HTTP/2 first unless told otherwise. */
class Score {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0] + "/score"))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(arguments[1]))
            .build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        var score = Pattern.compile("\"score\":([^,]+)").matcher(answer.body());
        if (answer.statusCode() != 200 || !score.find()) throw new Exception(answer.body());
        System.out.println(score.group(1));
    }
}
