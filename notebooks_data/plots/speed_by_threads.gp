# SPDX-License-Identifier: Apache-2.0
# Speed with one and two threads, engines in turns on one file, from results/speed_peers.csv;
# bars: slowest and fastest round.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/speed_by_threads.gp
if (!exists("table")) table = 'notebooks_data/results/speed_peers.csv'
if (!exists("out")) out = 'speed_by_threads.svg'

set terminal svg size 1000,420 font 'sans,13' background rgb 'white' enhanced
set output out
set datafile separator ','
# threads, median, low, high, bound of one engine's rows of a test, of the days on which one
# thread was measured, too
row(engine, test) = sprintf("< awk -F, -v e='%s' -v t='%s' '" \
    . "NR == FNR { if ($4 == 1) day[substr($1, 1, 10)] = 1; next } day[substr($1, 1, 10)] && " \
    . "$6 == \"synth-12b-12layers-q4_0.gguf\" && $8 == e && index($9, t) == 1 && " \
    . "$9 !~ /@/ { v[$4, $10] = $11; k[$4] = 1 } END { for (n in k) " \
    . "printf \"%%d,%%s,%%s,%%s,%%s\\n\", n, v[n, \"rate\"], v[n, \"low\"], v[n, \"high\"], " \
    . "v[n, \"bound\"] }' %s %s | sort -t, -n", engine, test, table, table)
engines = system(sprintf("awk -F, 'NR > 1 { print $8 }' %s | sort -ru | tr '\n' ' '", table))
shown(e) = e eq 'opt' ? 'this engine' : e
colour(e) = e eq 'opt' ? '#0072b2' : e eq 'ik_llama.cpp' ? '#e69f00' : '#009e73'

set grid ytics lc rgb '#dddddd' lw 0.7
set border 3 lc rgb '#555555'
set tics nomirror out
set key outside bottom center horizontal samplen 2
set xlabel 'threads'
set ylabel 'tokens a second'
set xtics 1
set xrange [0.8:2.2]
set yrange [0:*]
set multiplot layout 1,2 title '12 of the 48 layers, Q4\_0, two cores of a Zen 5'
do for [i = 1:2] {
    test = i == 1 ? 'pp512' : 'tg32'
    set title i == 1 ? 'prefill of 512 tokens' : 'decoding, empty context'
    plot for [k = i:1] row('opt', test) using 1:5 with lines lw 1.5 dt 3 lc rgb '#555555' \
            title 'what the int8 peak allows', \
        for [e in engines] row(e, test) using 1:2:3:4 with yerrorbars pt 7 ps 0.6 \
            lc rgb colour(e) notitle, \
        for [e in engines] row(e, test) using 1:2 with lines lw 2 lc rgb colour(e) \
            title shown(e) noenhanced
}
unset multiplot
