# Perl's HTTP::Tiny, which is part of Perl: a record as JSON.
use strict;
use warnings;
use HTTP::Tiny;

my ($address, $record) = @ARGV;
my $options = {headers => {"Content-Type" => "application/json"}, content => $record};
my $answer = HTTP::Tiny->new->post("$address/score", $options);
die $answer->{content} unless $answer->{success};
$answer->{content} =~ /"score":([^,]+)/ or die $answer->{content};
print "$1\n";
